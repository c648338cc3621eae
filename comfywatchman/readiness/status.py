"""Schema of `master_status.json`; its JSON Schema is generated from these classes."""

from __future__ import annotations

from typing import Literal

import msgspec

from comfywatchman.comfyui.install.reachability import Obstacle
from comfywatchman.comfyui.loaders.upload_inputs import FileKind
from comfywatchman.comfyui.references.input_files import FileFolder
from comfywatchman.comfyui.references.reference import Confidence
from comfywatchman.comfyui.validation.rejection import RejectionReason
from comfywatchman.readiness.host_summary import CycleSummary, HostSummary, RecentAcknowledgement
from comfywatchman.readiness.states import ModelState, WorkflowStatus

SCHEMA_VERSION = 1
Answer = Literal["FOUND", "UNCERTAIN", "INVALID_FILENAME", "ERROR", "NOT_FOUND"]


class ModelCandidate(msgspec.Struct, frozen=True, omit_defaults=True):
    """A possible source of a missing model; a proposal until its hash was checked.

    Attributes:
        source: `declared`, `huggingface`, `civitai`, …
        url: Download or page URL.
        name: File name at the source.
        sha256: Hash stated by the source, if any.
        reason: Evidence for this candidate.
    """

    source: str
    url: str | None = None
    name: str | None = None
    sha256: str | None = None
    reason: str | None = None


class MissingModel(msgspec.Struct, frozen=True):
    """One model reference that the server would not accept as written.

    Attributes:
        name: Exactly as the workflow writes it.
        folder: Canonical model folder; null when only the file suffix shows that it is a model.
        node_type: Class of the node that names it.
        node_path: Ids of that node from the outside in, joined by `:`.
        input: Input that names it.
        status: State of the model on this host.
        fix: Next step for a person.
        evidence: Why this input is taken for a model name.
        confidence: Confidence in that evidence.
        candidates: Possible sources.
        answer: Result of the search: FOUND, UNCERTAIN, NOT_FOUND, …; null without a search.
        obstacle: Why it could not be looked for; null unless `status` is `unknown`.
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
    obstacle: Obstacle | None = None


class BlockedDownload(msgspec.Struct, frozen=True):
    """A model that was found but cannot be downloaded: its name in the workflow, and the reason."""

    name: str
    folder: str | None
    reason: str


class PlanSummary(msgspec.Struct, frozen=True):
    """The download plan for the models missing now.

    Attributes:
        file: Absolute path of its JSON file; the Markdown file is next to it.
        downloads: Number of files it would download or link.
        total_bytes: Total download size, as far as sizes are known.
        to_choose: Number of models for which a person must choose a candidate.
        blocked: Models that were found but cannot be downloaded.
        fetched: Number of models downloaded in this cycle by `[downloads] auto`; the next cycle judges them.
    """

    file: str
    downloads: int
    total_bytes: int
    to_choose: int
    blocked: tuple[BlockedDownload, ...] = ()
    fetched: int = 0


class ProviderPackage(msgspec.Struct, frozen=True, omit_defaults=True):
    """A custom node package that may provide a class.

    Attributes:
        id: Registry id or repository name.
        url: Repository URL, if known.
        evidence: Source of this claim.
    """

    id: str
    url: str | None = None
    evidence: str | None = None


class MissingNode(msgspec.Struct, frozen=True):
    """One node class that this host cannot run.

    Attributes:
        class_type: The class.
        state: `missing`, `import_failed`, `not_listed`, `needs_newer_comfyui` or `unknown`.
        node_paths: Active nodes of this class.
        packages: Packages that provide it; with more than one, a person must choose.
        fix: Next step for a person.
        evidence: Facts behind the state.
        comfyui_version: For `needs_newer_comfyui`, the lowest version that has it; null when only the newest is sure.
    """

    class_type: str
    state: str
    node_paths: tuple[str, ...]
    packages: tuple[ProviderPackage, ...] = ()
    fix: str | None = None
    evidence: str | None = None
    comfyui_version: str | None = None


class LastAcknowledgement(msgspec.Struct, frozen=True):
    """The last acknowledgement of a workflow: kind, intake source and time (UTC)."""

    kind: str
    source: str
    acknowledged_at: str


FILE_UNREADABLE = "file-unreadable"
"""Code of the problem of a file that cannot be opened."""


FOLDER_UNAVAILABLE = "folder-out-of-reach"
"""Code of the problem of a file whose folder is unavailable at the moment (an unplugged disk)."""


NOTHING_TO_RUN = "nothing-to-run"
"""Code of the problem of a workflow that has no node to run."""


class FileProblem(msgspec.Struct, frozen=True, omit_defaults=True):
    """A problem of a file: a stable code, a message, and the node it concerns."""

    code: str
    message: str
    node_path: str | None = None


class InactiveModel(msgspec.Struct, frozen=True):
    """A model that only muted or bypassed nodes name, and its state on this host."""

    name: str
    folder: str | None
    node_path: str
    status: ModelState


class MissingInput(msgspec.Struct, frozen=True):
    """One image, sound, video or other file supplied by the user that a workflow names and that is missing.

    Attributes:
        name: Exactly as the workflow writes it.
        folder: Folder in which ComfyUI looks for it: `input`, `output` or `temp`.
        kind: `picture`, `video`, `sound`, `latent`, `3D file`, `document` or `folder`.
        node_type: Class of the node that names it.
        node_path: Ids of that node from the outside in, joined by `:`.
        input: Input that names it.
        fix: Next step for a person.
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
    """One input for which ComfyUI refuses a workflow that has all its models and nodes.

    Attributes:
        input: Input name.
        value: The workflow's value as text, a long one cut; null for a link, and when there is no value.
        node_type: Class of the node.
        node_path: Ids of that node from the outside in, joined by `:`.
        reason: Why, as ComfyUI's validation finds it.
        fix: Next step for a person.
        problem: What is wrong, for people, as the end of a sentence that begins with the input.
    """

    input: str
    value: str | None
    node_type: str
    node_path: str
    reason: RejectionReason
    fix: str
    problem: str = ""


class WorkflowEntry(msgspec.Struct, frozen=True):
    """One workflow file.

    Attributes:
        path: Absolute path; bytes that are not UTF-8 and control characters are escaped.
        source: Label of its root.
        format: `ui-0.4`, `ui-1` or `api`; null for a file that could not be read.
        container: `json`, or the media type of the file that contains it.
        sha256: SHA-256 of the file.
        status: The verdict.
        models: Number of model references in active nodes.
        missing_models: References that are not ready.
        missing_nodes: Node classes that are not ready.
        inactive_models: Models that only muted or bypassed nodes name.
        uncertain_count: Number of findings that may or may not be missing.
        problems: Problems of the file.
        last_resolved_at: The last time it became complete, UTC.
        intake: Its last acknowledgement.
        missing_inputs: Missing files supplied by the user; they do not change `status` unless `required`.
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


class Summary(msgspec.Struct, frozen=True):
    """Counts: workflows by verdict, and the distinct missing models, node classes and input files of all of them.

    `unknown_models` could not be looked for; they are no part of `missing_models`.
    """

    workflows: int = 0
    ready: int = 0
    missing: int = 0
    uncertain: int = 0
    invalid: int = 0
    missing_models: int = 0
    missing_nodes: int = 0
    missing_inputs: int = 0
    unknown_models: int = 0


EnvironmentState = Literal["not governed", "ok", "warn", "fail", "unknown"]


class EnvironmentCheck(msgspec.Struct, frozen=True):
    """One check of the governed Python environment.

    Attributes:
        name: Its stable name, such as `lock` or `unregistered-nodes`.
        status: `ok`, `warn`, `fail` or `unknown`.
        evidence: The finding, in one sentence.
        action: Next step, a command where there is one; null when there is nothing to do.
        items: The nodes, packages or files concerned.
        vital: Whether ComfyUI may fail to run while this check fails.
    """

    name: str
    status: Literal["ok", "warn", "fail", "unknown"]
    evidence: str
    action: str | None = None
    items: tuple[str, ...] = ()
    vital: bool = False


class Environment(msgspec.Struct, frozen=True):
    """State of ComfyUI's Python environment.

    Attributes:
        state: `not governed` when there is no governed environment, else the worst status of the checks.
        checks: The checks in the order in which they run.
        root: Folder of the governed environment; null when there is none.
    """

    state: EnvironmentState
    checks: tuple[EnvironmentCheck, ...] = ()
    root: str | None = None


NOT_GOVERNED = Environment(state="not governed")


class StartProblem(msgspec.Struct, frozen=True):
    """A fault on which ComfyUI exits at its start: the file or folder, its line (null without one), and what to do."""

    path: str
    line: int | None
    reason: str
    fix: str


class MasterStatus(msgspec.Struct, frozen=True):
    """`output/reports/status/master_status.json`.

    Attributes:
        schema_version: 1.
        generated_at: When this file was written, UTC.
        checked_at: When the workflows were last checked, UTC; older than `generated_at` after a skipped cycle.
        valid_until: When the next report is overdue, UTC; after it, this report may be out of date.
        cycle: The cycle that wrote it.
        host: The host.
        summary: Counts.
        workflows: Every workflow file, in path order.
        intake: Newest acknowledgements, newest first.
        environment: The checks of the Python environment governed by `gov`.
        problems: Folders and files that could not be checked, as text.
        plan: The download plan; null when nothing was found for the models missing now.
        start_problems: Faults of the configuration on which ComfyUI exits at its start.
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
    start_problems: tuple[StartProblem, ...] = ()
