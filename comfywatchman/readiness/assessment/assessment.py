"""Assess the workflows of one cycle: find and acknowledge them, read the changed ones, judge them against the host."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from comfywatchman.base.files import printable_path
from comfywatchman.comfyui.install.reachability import Obstacle, describe_obstacle
from comfywatchman.readiness.assessment.host_snapshot import HostSnapshot
from comfywatchman.readiness.assessment.index import WorkflowIndex
from comfywatchman.readiness.assessment.reader import JSON_SUFFIXES, MEDIA_SUFFIXES, WorkflowReader, build_content_key
from comfywatchman.readiness.context import CycleContext
from comfywatchman.readiness.states import WorkflowStatus
from comfywatchman.readiness.status import (
    FILE_UNREADABLE,
    FOLDER_UNAVAILABLE,
    FileProblem,
    LastAcknowledgement,
    MissingInput,
    UnreadFolder,
    WorkflowEntry,
)
from comfywatchman.readiness.verdicts.input_files import resolve_input_folders
from comfywatchman.readiness.verdicts.workflow import JUDGE_VERSION, WorkflowVerdict, judge_workflow
from comfywatchman.readiness.workflow_facts import WorkflowFacts
from comfywatchman.readiness.workflows.availability import explain_absence, explain_unread_file
from comfywatchman.readiness.workflows.discovery import (
    WatchedRoot,
    WorkflowGap,
    build_users_root,
    is_below,
    list_workflows,
)
from comfywatchman.readiness.workflows.intake import compare_files
from comfywatchman.readiness.workflows.intake_log import append_entries, decode_path
from comfywatchman.readiness.workflows.known_workflows import (
    KnownWorkflow,
    load_known_workflows,
    save_known_workflows,
)


@dataclass(frozen=True, slots=True)
class Assessment:
    """Result of assessing all workflows.

    Attributes:
        entries: One report entry per file, in path order; their verdicts count models and nodes only (see
            `compose_entry`).
        read: Number of files opened.
        resolved: Number of workflows that became complete in this cycle.
        reader: Gives the facts of each workflow.
        unread_folders: Places with workflows that could not be looked at.
    """

    entries: tuple[WorkflowEntry, ...]
    read: int
    resolved: int
    reader: WorkflowReader
    unread_folders: tuple[UnreadFolder, ...] = ()

    def facts(self, entry: WorkflowEntry) -> WorkflowFacts | None:
        """Return the facts of an entry's workflow; None when the file has changed since."""
        if entry.sha256 is None:
            return None
        return self.reader.facts(entry.sha256, entry.path)


@dataclass(frozen=True, slots=True)
class _UnreadWorkflow:
    """Why a workflow could not be read, as problem code and obstacle; and the label of its root."""

    code: str
    obstacle: Obstacle
    source: str = ""


@dataclass(frozen=True, slots=True)
class _IntakeResult:
    """The acknowledged workflows.

    Attributes:
        known: The known workflows by shown path.
        has_changed: Whether `known` differs from the state file.
        unread: The workflows that could not be read, by shown path; some are not known.
        gaps: What could not be looked at.
    """

    known: dict[str, KnownWorkflow]
    has_changed: bool
    unread: dict[str, _UnreadWorkflow]
    gaps: tuple[WorkflowGap, ...]

    @property
    def readable(self) -> dict[str, KnownWorkflow]:
        """The known workflows without those that could not be read."""
        return {path: workflow for path, workflow in self.known.items() if path not in self.unread}


def assess_workflows(cycle: CycleContext, host: HostSnapshot, index: WorkflowIndex) -> Assessment:
    """Find, acknowledge, read and judge the workflows of the request's roots.

    Raises:
        Failure: `state-unwritable`; acknowledgements made until then are on disk.
    """
    reader = WorkflowReader(index, host.table, cycle.request.settings.workflows.max_file_mb << 20)
    with cycle.phase("workflows"):
        intake_result = _run_intake(cycle, reader)
    with cycle.phase("verdicts"):
        readable = intake_result.readable
        verdicts = _judge_workflows(readable, reader, host, index)
        reader.save()
        inputs = _find_missing_inputs(cycle, readable, verdicts)
        updated, resolved = _mark_resolved(readable, verdicts, inputs, cycle.now())
        known = {**intake_result.known, **updated}
        _save_known(cycle, intake_result, known)
    unread = {**_find_unread_again(readable, verdicts, reader), **intake_result.unread}
    entries = _build_entries(known, unread, verdicts, inputs)
    folders = _build_unread_folders(intake_result.gaps, unread)
    return Assessment(entries, reader.read, resolved, reader, folders)


def _run_intake(cycle: CycleContext, reader: WorkflowReader) -> _IntakeResult:
    """Find the files and acknowledge the changes; the acknowledgements are on disk afterwards."""
    request = cycle.request
    suffixes = JSON_SUFFIXES
    if request.settings.workflows.media:
        suffixes |= MEDIA_SUFFIXES
    listing = list_workflows(request.roots, suffixes=suffixes)
    cycle.problems += [f"{path}: {reason}" for path, reason in listing.problems]
    stored = _load_known(cycle)
    known_signatures = [workflow.signature for workflow in stored.values()]
    files = reader.exclude_plain_media(listing.files, known=known_signatures)
    watched = _list_watched_roots(cycle)
    comparison = compare_files(
        files,
        stored,
        hash_file=reader.hash_file,
        explain_absence=lambda path, device: explain_absence(path, watched, listing, device=device),
        at=cycle.now(),
        cycle=cycle.id,
        comfyui=cycle.comfyui.id,
    )
    append_entries(request.layout.intake_log, comparison.added)

    unread: dict[str, _UnreadWorkflow] = {}
    for path, obstacle in comparison.unavailable.items():
        unread[path] = _UnreadWorkflow(FOLDER_UNAVAILABLE, obstacle)
    for gap in listing.gaps:
        if gap.is_file:
            unread[printable_path(gap.path)] = _UnreadWorkflow(FILE_UNREADABLE, gap.obstacle, gap.source)
    for file in comparison.unreadable:
        obstacle = explain_unread_file(file.path, reader.failures.get(file.path))
        unread[printable_path(file.path)] = _UnreadWorkflow(FILE_UNREADABLE, obstacle, file.source)
    has_changed = bool(comparison.added) or comparison.known != stored
    return _IntakeResult(comparison.known, has_changed, unread, listing.gaps)


def _load_known(cycle: CycleContext) -> dict[str, KnownWorkflow]:
    layout = cycle.request.layout
    watched = _list_watched_roots(cycle)
    known, damaged = load_known_workflows(
        layout.known_workflows,
        layout.intake_log,
        comfyui=cycle.comfyui.id,
        is_watched=lambda path: is_below(path, watched),
    )
    for file in damaged:
        cycle.add_problem(file)
    return known


def _list_watched_roots(cycle: CycleContext) -> tuple[WatchedRoot, ...]:
    request = cycle.request
    if request.settings.workflows.roots:
        return request.roots
    # The default roots are the existing user folders of ComfyUI. While their disk is unmounted none exists, so the
    # folder above them is needed to recognise their files as unavailable instead of removed.
    return (*request.roots, build_users_root(request.installation.base))


def _judge_workflows(
    known: Mapping[str, KnownWorkflow], reader: WorkflowReader, host: HostSnapshot, index: WorkflowIndex
) -> dict[str, WorkflowVerdict]:
    """Return the verdicts by content key; only contents without a stored verdict for this host are judged."""
    context = f"{JUDGE_VERSION}:{host.fingerprint}"
    stored = index.verdicts(context)
    new: dict[str, WorkflowVerdict] = {}
    for path, workflow in known.items():
        key = build_content_key(path, workflow.sha256)
        # Copies of a workflow share one verdict.
        if key in stored or key in new:
            continue
        facts = reader.facts(workflow.sha256, decode_path(path, workflow.raw_path))
        if facts is not None:
            new[key] = judge_workflow(facts, host.inventory, host.judge_node, host.choices, host.load_rules())
    if new:
        index.add_verdicts(context, new)
    return {**stored, **new}


def _find_unread_again(
    known: Mapping[str, KnownWorkflow], verdicts: Mapping[str, WorkflowVerdict], reader: WorkflowReader
) -> dict[str, _UnreadWorkflow]:
    """Return the unchanged workflows that had to be read anew and could not be opened, by shown path."""
    unread: dict[str, _UnreadWorkflow] = {}
    for path, workflow in known.items():
        real_path = decode_path(path, workflow.raw_path)
        failure = reader.failures.get(real_path)
        if failure is not None and build_content_key(path, workflow.sha256) not in verdicts:
            unread[path] = _UnreadWorkflow(FILE_UNREADABLE, explain_unread_file(real_path, failure))
    return unread


def _build_unread_folders(
    gaps: Iterable[WorkflowGap], unread: Mapping[str, _UnreadWorkflow]
) -> tuple[UnreadFolder, ...]:
    """Return the places that could not be looked at, with the number of workflows that are known to be there."""
    obstacles = {gap.obstacle.path: gap.obstacle for gap in gaps if gap.is_certain and not gap.is_file}
    counts = dict.fromkeys(obstacles, 0)
    for path, workflow in unread.items():
        # A file that could not be opened stands for itself.
        place = workflow.obstacle.path
        if place != path:
            obstacles.setdefault(place, workflow.obstacle)
            counts[place] = counts.get(place, 0) + 1
    return tuple(UnreadFolder(obstacles[place], count) for place, count in sorted(counts.items()))


def _find_missing_inputs(
    cycle: CycleContext, known: Mapping[str, KnownWorkflow], verdicts: Mapping[str, WorkflowVerdict]
) -> dict[str, tuple[MissingInput, ...]]:
    """Return the missing input files by content key; input files are checked in each cycle, never cached."""
    request = cycle.request
    folders = resolve_input_folders(request.installation, required=request.settings.workflows.require_inputs)
    missing: dict[str, tuple[MissingInput, ...]] = {}
    for path, workflow in known.items():
        key = build_content_key(path, workflow.sha256)
        verdict = verdicts.get(key)
        if verdict is not None and verdict.inputs and key not in missing:
            missing[key] = folders.find_missing(verdict.inputs)
    cycle.problems += folders.problems
    return missing


def _mark_resolved(
    known: Mapping[str, KnownWorkflow],
    verdicts: Mapping[str, WorkflowVerdict],
    inputs: Mapping[str, tuple[MissingInput, ...]],
    at: str,
) -> tuple[dict[str, KnownWorkflow], int]:
    """Update for each workflow whether it lacks something and when it became complete; count those that just did.

    A workflow that is complete when it is seen first counts, so that the number is that of the new times.
    """
    updated = dict(known)
    resolved = 0
    for path, workflow in known.items():
        key = build_content_key(path, workflow.sha256)
        verdict = verdicts.get(key)
        if verdict is None or verdict.status is WorkflowStatus.INVALID:
            continue
        is_missing = _lacks_something(verdict, inputs.get(key, ()))
        # What could not be looked for changes nothing: mounting its disk again is no repair of the workflow.
        is_unknown = not is_missing and _has_obstacle(verdict, inputs.get(key, ()))
        if is_unknown or workflow.was_missing is is_missing:
            continue
        if not is_missing:
            resolved += 1
        resolved_at = workflow.last_resolved_at if is_missing else at
        updated[path] = msgspec.structs.replace(workflow, was_missing=is_missing, last_resolved_at=resolved_at)
    return updated, resolved


def _lacks_something(verdict: WorkflowVerdict, inputs: tuple[MissingInput, ...]) -> bool:
    if verdict.refused_inputs:
        return True
    if any(node.obstacle is None for node in verdict.missing_nodes):
        return True
    if any(model.obstacle is None for model in verdict.missing_models):
        return True
    return any(missing.required and missing.obstacle is None for missing in inputs)


def _has_obstacle(verdict: WorkflowVerdict, inputs: tuple[MissingInput, ...]) -> bool:
    """Return whether something that counts for the verdict could not be looked for."""
    if any(node.obstacle is not None for node in verdict.missing_nodes):
        return True
    if any(model.obstacle is not None for model in verdict.missing_models):
        return True
    return any(missing.required and missing.obstacle is not None for missing in inputs)


def _save_known(cycle: CycleContext, intake_result: _IntakeResult, known: dict[str, KnownWorkflow]) -> None:
    layout = cycle.request.layout
    if intake_result.has_changed or known != intake_result.known or not layout.known_workflows.exists():
        with cycle.skip_newer_files():
            save_known_workflows(layout.known_workflows, layout.intake_log, known, comfyui=cycle.comfyui.id)


def _build_entries(
    known: Mapping[str, KnownWorkflow],
    unread: Mapping[str, _UnreadWorkflow],
    verdicts: Mapping[str, WorkflowVerdict],
    inputs: Mapping[str, tuple[MissingInput, ...]],
) -> tuple[WorkflowEntry, ...]:
    entries: list[WorkflowEntry] = []
    for path, workflow in known.items():
        if path in unread:
            continue
        key = build_content_key(path, workflow.sha256)
        verdict = verdicts.get(key)
        if verdict is None:
            reason = "The file changed while it was read; the next cycle looks again."
            entries.append(_build_unknown_entry(path, workflow, FileProblem("file-changed", reason)))
        else:
            entries.append(_build_entry(path, workflow, verdict, inputs.get(key, ())))
    for path, reason_unread in unread.items():
        problem = FileProblem(reason_unread.code, describe_obstacle(reason_unread.obstacle))
        entry = _build_unknown_entry(path, known.get(path), problem)
        source = entry.source or reason_unread.source
        entries.append(msgspec.structs.replace(entry, source=source, obstacle=reason_unread.obstacle))
    return tuple(sorted(entries, key=lambda entry: entry.path))


def _build_entry(
    path: str, workflow: KnownWorkflow, verdict: WorkflowVerdict, inputs: tuple[MissingInput, ...]
) -> WorkflowEntry:
    return WorkflowEntry(
        path=path,
        source=workflow.source,
        format=verdict.format,
        container=verdict.container,
        sha256=workflow.sha256,
        status=verdict.status,
        models=verdict.models,
        missing_models=verdict.missing_models,
        missing_nodes=verdict.missing_nodes,
        inactive_models=verdict.inactive_models,
        uncertain_count=verdict.uncertain_count,
        problems=verdict.problems,
        last_resolved_at=workflow.last_resolved_at,
        intake=_build_last_acknowledgement(workflow),
        missing_inputs=inputs,
        refused_inputs=verdict.refused_inputs,
        unconfirmed_packs=verdict.unconfirmed_packs,
        unchecked_choices=verdict.unchecked_choices,
    )


def _build_unknown_entry(path: str, workflow: KnownWorkflow | None, problem: FileProblem) -> WorkflowEntry:
    """Build the entry of a workflow that was not read: only reading it can show that it does not run."""
    return WorkflowEntry(
        path=path,
        source=workflow.source if workflow else "",
        format=None,
        container=None,
        sha256=None,
        status=WorkflowStatus.UNCERTAIN,
        models=0,
        missing_models=(),
        missing_nodes=(),
        inactive_models=(),
        uncertain_count=1,
        problems=(problem,),
        last_resolved_at=workflow.last_resolved_at if workflow else None,
        intake=_build_last_acknowledgement(workflow),
    )


def _build_last_acknowledgement(workflow: KnownWorkflow | None) -> LastAcknowledgement | None:
    if workflow is None:
        return None
    return LastAcknowledgement(workflow.kind, workflow.source, workflow.acknowledged_at)
