"""Assess the workflows of one cycle: find and acknowledge them, read the changed ones, judge them against the host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from comfywatchman.base.files import printable_path
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
    WorkflowEntry,
)
from comfywatchman.readiness.verdicts.input_files import resolve_input_folders
from comfywatchman.readiness.verdicts.workflow import JUDGE_VERSION, WorkflowVerdict, judge_workflow
from comfywatchman.readiness.workflow_facts import WorkflowFacts
from comfywatchman.readiness.workflows import intake
from comfywatchman.readiness.workflows.discovery import WatchedRoot, build_users_root, is_gone, list_workflows
from comfywatchman.readiness.workflows.intake import KnownWorkflow


@dataclass(frozen=True, slots=True)
class Assessment:
    """Result of assessing all workflows.

    Attributes:
        entries: One report entry per file, in path order; their verdicts count models and nodes only (see
            `compose_entry`).
        read: Number of files opened.
        resolved: Number of workflows that became complete in this cycle.
        reader: Gives the facts of each workflow.
    """

    entries: tuple[WorkflowEntry, ...]
    read: int
    resolved: int
    reader: WorkflowReader

    def facts(self, entry: WorkflowEntry) -> WorkflowFacts | None:
        """Return the facts of an entry's workflow; None when the file has changed since."""
        if entry.sha256 is None:
            return None
        return self.reader.facts(entry.sha256, entry.path)


@dataclass(frozen=True, slots=True)
class _IntakeResult:
    """The acknowledged workflows.

    Attributes:
        known: The known workflows by shown path.
        has_changed: Whether `known` differs from the state file.
        problems: Why files could not be read, by shown path.
    """

    known: dict[str, KnownWorkflow]
    has_changed: bool
    problems: dict[str, FileProblem]


def assess_workflows(cycle: CycleContext, host: HostSnapshot, index: WorkflowIndex) -> Assessment:
    """Find, acknowledge, read and judge the workflows of the request's roots.

    Raises:
        Failure: `state-unwritable`; acknowledgements made until then are on disk.
    """
    reader = WorkflowReader(index, host.table, cycle.request.settings.workflows.max_file_mb << 20)
    with cycle.phase("workflows"):
        intake_result = _run_intake(cycle, reader)
    with cycle.phase("verdicts"):
        verdicts = _judge_workflows(intake_result.known, reader, host, index)
        reader.save()
        inputs = _find_missing_inputs(cycle, intake_result.known, verdicts)
        known, resolved = _mark_resolved(intake_result.known, verdicts, inputs, cycle.now())
        _save_known(cycle, intake_result, known)
    entries = _build_entries(known, intake_result.problems, verdicts, inputs)
    return Assessment(entries, reader.read, resolved, reader)


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
    comparison = intake.compare_files(
        files,
        stored,
        hash_file=reader.hash_file,
        is_gone=lambda path, device: is_gone(path, watched, device=device),
        at=cycle.now(),
        cycle=cycle.id,
    )
    intake.append_entries(request.layout.intake_log, comparison.added)

    # Removed files are no longer known, so a known file that was not listed is in an unavailable folder.
    problems: dict[str, FileProblem] = {}
    listed = {printable_path(file.path) for file in files}
    for path in comparison.known.keys() - listed:
        problems[path] = FileProblem(FOLDER_UNAVAILABLE, "Its folder cannot be read at the moment.")
    for path in comparison.unreadable:
        problems[path] = FileProblem(FILE_UNREADABLE, reader.describe_failure(path))
    has_changed = bool(comparison.added) or comparison.known != stored
    return _IntakeResult(comparison.known, has_changed, problems)


def _load_known(cycle: CycleContext) -> dict[str, KnownWorkflow]:
    layout = cycle.request.layout
    known, damaged = intake.load_known_workflows(layout.known_workflows, layout.intake_log)
    for file in damaged:
        cycle.add_problem(file)
    if cycle.request.sample:
        return known
    # Once there is a real host, the workflows of the sample host are dropped without a "removed" entry.
    sample_prefix = f"{printable_path(layout.sample)}/"
    return {path: workflow for path, workflow in known.items() if not path.startswith(sample_prefix)}


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
        facts = reader.facts(workflow.sha256, intake.decode_path(path, workflow.raw_path))
        if facts is not None:
            new[key] = judge_workflow(facts, host.inventory, host.judge_node, host.choices, host.rules)
    if new:
        index.add_verdicts(context, new)
    return {**stored, **new}


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
    """Update for each workflow whether it lacks something and when it became complete; count those that just did."""
    updated = dict(known)
    resolved = 0
    for path, workflow in known.items():
        key = build_content_key(path, workflow.sha256)
        verdict = verdicts.get(key)
        if verdict is None or verdict.status is WorkflowStatus.INVALID:
            continue
        is_missing = _lacks_something(verdict, inputs.get(key, ()))
        # A model that could not be looked for changes nothing: mounting its disk again is no repair of the workflow.
        is_unknown = not is_missing and any(model.obstacle is not None for model in verdict.missing_models)
        if is_unknown or workflow.was_missing is is_missing:
            continue
        # `was_missing` is None before the first verdict: a workflow that was complete from the start is no repair.
        if workflow.was_missing:
            resolved += 1
        resolved_at = workflow.last_resolved_at if is_missing else at
        updated[path] = msgspec.structs.replace(workflow, was_missing=is_missing, last_resolved_at=resolved_at)
    return updated, resolved


def _lacks_something(verdict: WorkflowVerdict, inputs: tuple[MissingInput, ...]) -> bool:
    if verdict.missing_nodes or verdict.refused_inputs:
        return True
    if any(model.obstacle is None for model in verdict.missing_models):
        return True
    return any(missing.required for missing in inputs)


def _save_known(cycle: CycleContext, intake_result: _IntakeResult, known: dict[str, KnownWorkflow]) -> None:
    layout = cycle.request.layout
    if intake_result.has_changed or known != intake_result.known or not layout.known_workflows.exists():
        intake.save_known_workflows(layout.known_workflows, layout.intake_log, known)


def _build_entries(
    known: Mapping[str, KnownWorkflow],
    problems: Mapping[str, FileProblem],
    verdicts: Mapping[str, WorkflowVerdict],
    inputs: Mapping[str, tuple[MissingInput, ...]],
) -> tuple[WorkflowEntry, ...]:
    entries: list[WorkflowEntry] = []
    for path, workflow in known.items():
        if path in problems:
            continue
        key = build_content_key(path, workflow.sha256)
        verdict = verdicts.get(key)
        if verdict is None:
            reason = "The file changed while it was read; the next cycle looks again."
            entries.append(_build_unreadable_entry(path, workflow, FileProblem("file-changed", reason)))
        else:
            entries.append(_build_entry(path, workflow, verdict, inputs.get(key, ())))
    for path, problem in problems.items():
        entries.append(_build_unreadable_entry(path, known.get(path), problem))
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
    )


def _build_unreadable_entry(path: str, workflow: KnownWorkflow | None, problem: FileProblem) -> WorkflowEntry:
    status = WorkflowStatus.UNCERTAIN
    uncertain_count = 1
    # A file that cannot be opened certainly does not run; one that is unavailable or has just changed may run.
    if problem.code == FILE_UNREADABLE:
        status = WorkflowStatus.INVALID
        uncertain_count = 0
    return WorkflowEntry(
        path=path,
        source=workflow.source if workflow else "",
        format=None,
        container=None,
        sha256=None,
        status=status,
        models=0,
        missing_models=(),
        missing_nodes=(),
        inactive_models=(),
        uncertain_count=uncertain_count,
        problems=(problem,),
        last_resolved_at=workflow.last_resolved_at if workflow else None,
        intake=_build_last_acknowledgement(workflow),
    )


def _build_last_acknowledgement(workflow: KnownWorkflow | None) -> LastAcknowledgement | None:
    if workflow is None:
        return None
    return LastAcknowledgement(workflow.kind, workflow.source, workflow.acknowledged_at)
