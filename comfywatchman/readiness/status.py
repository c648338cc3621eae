"""Schema of `master_status.json`; its JSON Schema is generated from these classes."""

from __future__ import annotations

from typing import Literal

import msgspec

from comfywatchman.base.state.ranges import check_times
from comfywatchman.comfyui.install.identity import ComfyUIIdentity
from comfywatchman.comfyui.install.reachability import Obstacle
from comfywatchman.comfyui.loaders.upload_inputs import FileKind
from comfywatchman.comfyui.references.input_files import FileFolder
from comfywatchman.comfyui.references.reference import Confidence
from comfywatchman.comfyui.validation.rejection import RejectionReason
from comfywatchman.readiness.host_summary import CycleSummary, HostSummary, RecentAcknowledgement, Summary
from comfywatchman.readiness.plan_summary import PlanSummary
from comfywatchman.readiness.states import ModelState, NodeRemedy, SearchDoubt, WorkflowStatus

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
        base_model: Model family, if the source states it.
        version: Its version at the source: the id on Civitai, the revision on Hugging Face.
    """

    source: str
    url: str | None = None
    name: str | None = None
    sha256: str | None = None
    reason: str | None = None
    base_model: str | None = None
    version: str | None = None


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
        doubt: Why that result is uncertain; null for other results.
        obstacle: Why it could not be looked for; null unless `status` is `unknown`.
        target: Path at which ComfyUI would find it, with the subfolder of its name; null when the folder is not known.
        found_at: The file of this host that may be it; null when there is none, or several.
        needs_edit: Whether no file can have this name: the workflow names it in a way of another system.
        size_bytes: Size of the download, as far as it is known.
        declared_url: Download URL that the workflow declares; nobody has verified it.
        declared_sha256: The SHA-256 that the workflow declares.
        unreachable: Sites that did not respond to the search.
        retry_at: When they are searched again, UTC.
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
    doubt: SearchDoubt | None = None
    obstacle: Obstacle | None = None
    target: str | None = None
    found_at: str | None = None
    needs_edit: bool = False
    size_bytes: int | None = None
    declared_url: str | None = None
    declared_sha256: str | None = None
    unreachable: tuple[str, ...] = ()
    retry_at: str | None = None


class ProviderPackage(msgspec.Struct, frozen=True, omit_defaults=True):
    """A custom node package that may provide a class.

    Attributes:
        id: Registry id or repository name.
        url: Repository URL, if known.
        evidence: Source of this claim.
        title: Display name, if known.
    """

    id: str
    url: str | None = None
    evidence: str | None = None
    title: str | None = None


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
        obstacle: For `unknown`, why a place that may provide it could not be looked at; null otherwise.
        remedy: What to do about a class that is missing; null when that is not known.
    """

    class_type: str
    state: str
    node_paths: tuple[str, ...]
    packages: tuple[ProviderPackage, ...] = ()
    fix: str | None = None
    evidence: str | None = None
    comfyui_version: str | None = None
    obstacle: Obstacle | None = None
    remedy: NodeRemedy | None = None


class LastAcknowledgement(msgspec.Struct, frozen=True):
    """The last acknowledgement of a workflow: kind, intake source and time (UTC)."""

    kind: str
    source: str
    acknowledged_at: str


FILE_UNREADABLE = "file-unreadable"
"""Code of the problem of a file that cannot be opened."""


FOLDER_UNAVAILABLE = "folder-out-of-reach"
"""Code of the problem of a file whose folder, or a link on the way to it, is unavailable (an unplugged disk)."""


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
    """One image, sound, video or other file of the user that a workflow names and that is missing, or may be.

    Attributes:
        name: Exactly as the workflow writes it.
        folder: Folder in which ComfyUI looks for it: `input`, `output` or `temp`.
        kind: `picture`, `video`, `sound`, `latent`, `3D file`, `document` or `folder`.
        node_type: Class of the node that names it.
        node_path: Ids of that node from the outside in, joined by `:`.
        input: Input that names it.
        fix: Next step for a person.
        required: Whether it counts for the verdict (`[workflows] require_inputs`).
        obstacle: Why it could not be looked for; null for one that is missing.
    """

    name: str
    folder: FileFolder
    kind: FileKind
    node_type: str
    node_path: str
    input: str
    fix: str
    required: bool
    obstacle: Obstacle | None = None


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


class UncheckedChoice(msgspec.Struct, frozen=True):
    """An input whose value only ComfyUI can check: by a list that its source does not show, or by code of the class.

    Attributes:
        node_type: Class of the node.
        input: Name of its input; empty where the source does not show its inputs.
    """

    node_type: str
    input: str


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
        inactive_models: Models that only muted or bypassed nodes name, or nodes that no output needs.
        uncertain_count: Number of findings that may or may not be missing.
        problems: Problems of the file.
        last_resolved_at: The last time it became complete, UTC.
        intake: Its last acknowledgement.
        missing_inputs: Files of the user that are missing, or could not be looked for; they do not change `status`
            unless `required`.
        refused_inputs: Inputs for which ComfyUI refuses it.
        obstacle: Why the file could not be read; null for one that could.
        unconfirmed_packs: Folders of the packs that bring its node classes, when only their files show that ComfyUI can
            import them: no server was running, and no log of a start covers them.
        unchecked_choices: Inputs of it whose values only ComfyUI can check: by lists that only a running server gives,
            or by a function of the class.
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
    obstacle: Obstacle | None = None
    unconfirmed_packs: tuple[str, ...] = ()
    unchecked_choices: tuple[UncheckedChoice, ...] = ()


class UnreadFolder(msgspec.Struct, frozen=True):
    """A place that could not be looked at, and how many workflows are known to be there."""

    obstacle: Obstacle
    workflows: int = 0


EnvironmentState = Literal["not governed", "ok", "warn", "fail", "unknown"]
NotGovernedCause = Literal["other-comfyui", "replaced-comfyui", "not-recorded"]


class EnvironmentCheck(msgspec.Struct, frozen=True):
    """One check of the governed Python environment.

    Attributes:
        name: Its stable name, such as `lock` or `unregistered-nodes`.
        status: `ok`, `warn`, `fail` or `unknown`.
        evidence: The finding, in one sentence.
        action: Next step, a command where there is one; null when there is nothing to do.
        items: The nodes, packages or files concerned.
        vital: Whether ComfyUI may fail to run while this check fails.
        packs: Folders of the node packs whose nodes may not run while this check fails.
    """

    name: str
    status: Literal["ok", "warn", "fail", "unknown"]
    evidence: str
    action: str | None = None
    items: tuple[str, ...] = ()
    vital: bool = False
    packs: tuple[str, ...] = ()


class Environment(msgspec.Struct, frozen=True):
    """State of ComfyUI's Python environment.

    Attributes:
        state: `not governed` when there is no governed environment, else the worst status of the checks.
        checks: The checks in the order in which they run.
        root: Folder of the governed environment; null when there is none.
        cause: Why the watched ComfyUI is not governed although there is a governed root: it belongs to another ComfyUI,
            to one that was at the same path before, or an older version did not record its ComfyUI.
        governs: The ComfyUI of that root; null when it is not recorded.
    """

    state: EnvironmentState
    checks: tuple[EnvironmentCheck, ...] = ()
    root: str | None = None
    cause: NotGovernedCause | None = None
    governs: str | None = None


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
        valid_until: When the verdicts are out of date, UTC; a skipped cycle does not renew it.
        cycle: The cycle that wrote it.
        host: The host.
        summary: Counts.
        workflows: Every workflow file, in path order.
        intake: Newest acknowledgements, newest first.
        environment: The checks of the Python environment governed by `gov`.
        problems: Folders and files that could not be checked, as text.
        plan: The download plan; null when nothing was found for the models missing now.
        start_problems: Faults of the configuration on which ComfyUI exits at its start.
        unread_folders: Places with workflows that could not be looked at.
        comfyui: The ComfyUI that the report is about; null in reports of older versions.
        watched_until: When the next cycle is overdue, UTC: after it, the watch has stopped. A skipped cycle renews it.
            Null in reports of older versions.
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
    unread_folders: tuple[UnreadFolder, ...] = ()
    comfyui: ComfyUIIdentity | None = None
    watched_until: str | None = None

    def check_ranges(self) -> None:
        """Check the times that are compared with the clock.

        Raises:
            ValueError: One of them is out of range.
        """
        check_times(self.generated_at, self.valid_until, self.checked_at, self.watched_until)
