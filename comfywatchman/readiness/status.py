"""The shape of `master_status.json`; its JSON Schema is made from these records."""

from __future__ import annotations

from typing import Literal

import msgspec

from comfywatchman.comfyui.loaders.upload_inputs import FileKind
from comfywatchman.comfyui.references.input_files import FileFolder
from comfywatchman.comfyui.references.reference import Confidence
from comfywatchman.readiness.states import ModelState, WorkflowStatus

SCHEMA_VERSION = 1
Answer = Literal["FOUND", "UNCERTAIN", "INVALID_FILENAME", "ERROR", "NOT_FOUND"]


class ModelCandidate(msgspec.Struct, frozen=True, omit_defaults=True):
    """A place from which a missing model may be had; a proposal until its hash was checked.

    Attributes:
        source: `declared`, `huggingface`, `civitai`, …
        url: Where it is said to be.
        name: File name there.
        sha256: Hash that its source states, if one.
        reason: What speaks for it.
    """

    source: str
    url: str | None = None
    name: str | None = None
    sha256: str | None = None
    reason: str | None = None


class MissingModel(msgspec.Struct, frozen=True):
    """One model reference that the server would not accept as it stands.

    Attributes:
        name: Exactly as the workflow writes it.
        folder: Canonical model folder; null when only the file ending gave it away.
        node_type: Class of the node that names it.
        node_path: Ids of that node from the outside in, joined by `:`.
        input: Input that names it.
        status: What this host has instead.
        fix: What to do.
        evidence: What says that this input names a model.
        confidence: How sure that is.
        candidates: Where it may be had.
        answer: What the search says: FOUND, UNCERTAIN, NOT_FOUND, …; null when nobody was asked.
    """

    name: str
    folder: str | None
    node_type: str
    node_path: str
    input: str
    status: ModelState
    fix: str | None
    evidence: str
    confidence: Confidence
    candidates: tuple[ModelCandidate, ...] = ()
    answer: Answer | None = None


class BlockedDownload(msgspec.Struct, frozen=True):
    """A model that was found and cannot be fetched as things stand: as the workflow names it, and why."""

    name: str
    folder: str | None
    reason: str


class PlanSummary(msgspec.Struct, frozen=True):
    """The plan of downloads for what is missing now.

    Attributes:
        file: Its JSON, an absolute path; the Markdown lies beside it.
        downloads: How many files it would fetch or link.
        total_bytes: Of what it would fetch, as far as sizes are known.
        to_choose: How many models wait for a person's choice among candidates.
        blocked: What was found and cannot be fetched.
        fetched: How many were fetched in this cycle, with `[downloads] auto`; the next cycle judges them.
    """

    file: str
    downloads: int
    total_bytes: int
    to_choose: int
    blocked: tuple[BlockedDownload, ...] = ()
    fetched: int = 0


class ProviderPackage(msgspec.Struct, frozen=True, omit_defaults=True):
    """A custom node package that is said to provide a class.

    Attributes:
        id: Registry id or repository name.
        url: Repository, if known.
        evidence: Who says so.
    """

    id: str
    url: str | None = None
    evidence: str | None = None


class MissingNode(msgspec.Struct, frozen=True):
    """One node class that this host cannot run.

    Attributes:
        class_type: The class.
        state: `missing`, `import_failed`, `needs_newer_comfyui` or `unknown`.
        node_paths: Active nodes of this class.
        packages: Who provides it; one is certain, several are to be chosen from.
        fix: What to do.
        evidence: What was looked at.
    """

    class_type: str
    state: str
    node_paths: tuple[str, ...]
    packages: tuple[ProviderPackage, ...] = ()
    fix: str | None = None
    evidence: str | None = None


class LastAcknowledgement(msgspec.Struct, frozen=True):
    """How the workflow was last acknowledged: kind, intake source and time (UTC)."""

    kind: str
    source: str
    acknowledged_at: str


FOLDER_UNAVAILABLE = "folder-out-of-reach"
"""Code of the problem of a file whose folder cannot be read at the moment (an unplugged disk)."""


NOTHING_TO_RUN = "nothing-to-run"
"""Code of the problem of a workflow in which the server finds nothing to run."""


class FileProblem(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something wrong with a file: a stable code, words, and the node it concerns."""

    code: str
    message: str
    node_path: str | None = None


class InactiveModel(msgspec.Struct, frozen=True):
    """A model that only muted or bypassed nodes name, and whether this host has it."""

    name: str
    folder: str | None
    node_path: str
    status: ModelState


class MissingInput(msgspec.Struct, frozen=True):
    """One picture, sound, video or other file of the person's own that a workflow names and that is not there.

    Attributes:
        name: Exactly as the workflow writes it.
        folder: Where ComfyUI looks for it: `input`, `output` or `temp`.
        kind: What it is: `picture`, `video`, `sound`, `latent`, `3D file`, `document` or `folder`.
        node_type: Class of the node that names it.
        node_path: Ids of that node from the outside in, joined by `:`.
        input: Input that names it.
        fix: What to do.
        required: Whether it counts for the verdict (`[workflows] require_inputs`).
    """

    name: str
    folder: FileFolder
    kind: FileKind
    node_type: str
    node_path: str
    input: str
    fix: str
    required: bool


class RefusedInput(msgspec.Struct, frozen=True):
    """One input for which the running server refuses a workflow that has all its models and nodes.

    Attributes:
        input: Input name.
        value: What the workflow gives, exactly; null where nothing feeds the input.
        node_type: Class of the node.
        node_path: Ids of that node from the outside in, joined by `:`.
        reason: `not_offered` (the value is not in the server's list) or `not_given` (nothing feeds the input).
        fix: What to do.
    """

    input: str
    value: str | None
    node_type: str
    node_path: str
    reason: Literal["not_offered", "not_given"]
    fix: str


class WorkflowEntry(msgspec.Struct, frozen=True):
    """One workflow file.

    Attributes:
        path: Absolute path; bytes that are no UTF-8 and control characters as escapes.
        source: Label of its root.
        format: `ui-0.4`, `ui-1` or `api`; null for a file that could not be read.
        container: `json`, or the media type it was embedded in.
        sha256: Hash of the file.
        status: The verdict.
        models: How many model references active nodes hold.
        missing_models: References that are not ready.
        missing_nodes: Node classes that are not ready.
        inactive_models: What only muted or bypassed nodes name.
        uncertain_count: Findings of which it is not known whether they are missing.
        problems: What was wrong with the file.
        last_resolved_at: The last time its set of missing things became empty, UTC.
        intake: Its last acknowledgement.
        missing_inputs: Files of the person's own that are not there; they do not change `status` unless `required`.
        refused_inputs: Inputs for which the running server refuses it.
    """

    path: str
    source: str
    format: str | None
    container: str | None
    sha256: str | None
    status: WorkflowStatus
    models: int
    missing_models: tuple[MissingModel, ...]
    missing_nodes: tuple[MissingNode, ...]
    inactive_models: tuple[InactiveModel, ...]
    uncertain_count: int
    problems: tuple[FileProblem, ...]
    last_resolved_at: str | None
    intake: LastAcknowledgement | None
    missing_inputs: tuple[MissingInput, ...] = ()
    refused_inputs: tuple[RefusedInput, ...] = ()


class CycleSummary(msgspec.Struct, frozen=True):
    """The cycle that wrote the report; `skipped_reason` names the gate that kept it from looking anew."""

    id: str
    trigger: str
    started_at: str
    duration_seconds: float
    success: bool
    skipped_reason: str | None
    message: str | None = None


class GpuSummary(msgspec.Struct, frozen=True):
    """One GPU, or one MIG instance of it: memory in bytes, null where the driver does not say."""

    index: int
    name: str | None
    memory_total_bytes: int | None
    memory_free_bytes: int | None
    mig: bool = False


class HostSummary(msgspec.Struct, frozen=True):
    """The host, as this cycle saw it.

    Attributes:
        gpus: NVIDIA GPUs; empty when there is none or the driver did not answer (see `gpu_status`).
        gpu_status: `ok`, `none` or `unknown`.
        comfyui_root: The watched installation.
        comfyui_version: Its version; null when it does not say.
        comfyui_running: Whether a server of this installation answered.
        sample: Whether this is the sample host of a first run.
    """

    gpus: tuple[GpuSummary, ...]
    gpu_status: str
    comfyui_root: str | None
    comfyui_version: str | None
    comfyui_running: bool
    sample: bool


class Summary(msgspec.Struct, frozen=True):
    """Counts: workflows by verdict, and distinct missing models, node classes and input files over all of them."""

    workflows: int = 0
    ready: int = 0
    missing: int = 0
    uncertain: int = 0
    invalid: int = 0
    missing_models: int = 0
    missing_nodes: int = 0
    missing_inputs: int = 0


class RecentAcknowledgement(msgspec.Struct, frozen=True):
    """One recent acknowledgement."""

    at: str
    kind: str
    path: str
    source: str
    previous_path: str | None


EnvironmentState = Literal["not governed", "ok", "warn", "fail", "unknown"]


class EnvironmentCheck(msgspec.Struct, frozen=True):
    """One check of the governed Python environment.

    Attributes:
        name: Its stable name, such as `lock` or `unregistered-nodes`.
        status: How it is.
        evidence: What was seen, in one sentence.
        action: What to do, a command where there is one; null when nothing is to do.
        items: What it is about (nodes, packages, files).
        vital: Whether ComfyUI may not run as it should while this fails.
    """

    name: str
    status: Literal["ok", "warn", "fail", "unknown"]
    evidence: str
    action: str | None = None
    items: tuple[str, ...] = ()
    vital: bool = False


class Environment(msgspec.Struct, frozen=True):
    """How the Python environment of ComfyUI is.

    Attributes:
        state: `not governed` when there is no governed environment; else the worst of the checks.
        checks: The checks, in the order in which they are made.
        root: The folder of the governed environment; null when there is none.
    """

    state: EnvironmentState
    checks: tuple[EnvironmentCheck, ...] = ()
    root: str | None = None


NOT_GOVERNED = Environment(state="not governed")


class MasterStatus(msgspec.Struct, frozen=True):
    """`output/reports/status/master_status.json`.

    Attributes:
        schema_version: 1.
        generated_at: When this file was written, UTC.
        checked_at: When the workflows were last looked at, UTC; older than `generated_at` after a skipped cycle.
        valid_until: After this the watchman is late: what stands here may be out of date. UTC.
        cycle: The cycle that wrote it.
        host: The host.
        summary: Counts.
        workflows: Every workflow file, in path order.
        intake: Newest acknowledgements, newest first.
        environment: The checks of the Python environment that `gov` governs.
        problems: What could not be looked at (folders, files), in words.
        plan: What can be downloaded; null when nothing was found for what is missing now.
    """

    generated_at: str
    checked_at: str | None
    valid_until: str
    cycle: CycleSummary
    host: HostSummary
    summary: Summary
    workflows: tuple[WorkflowEntry, ...]
    intake: tuple[RecentAcknowledgement, ...]
    environment: Environment
    problems: tuple[str, ...]
    schema_version: Literal[1] = 1
    plan: PlanSummary | None = None
