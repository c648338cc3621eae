"""The workflows of one cycle: found, acknowledged, read where they changed, judged against the host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from comfywatchman.base.files import printable_path
from comfywatchman.readiness.assessment.host_snapshot import HostSnapshot
from comfywatchman.readiness.assessment.index import WorkflowIndex
from comfywatchman.readiness.assessment.reader import JSON_SUFFIXES, MEDIA_SUFFIXES, WorkflowReader
from comfywatchman.readiness.context import CycleContext
from comfywatchman.readiness.states import WorkflowStatus
from comfywatchman.readiness.status import (
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
from comfywatchman.readiness.workflows.discovery import build_users_root, is_gone, list_workflows
from comfywatchman.readiness.workflows.intake import KnownWorkflow


@dataclass(frozen=True, slots=True)
class Assessment:
    """What a cycle found of its workflows.

    Attributes:
        entries: One for each file, in path order; their verdicts count models and nodes only (see `compose_entry`).
        read: How many files were opened.
        reader: Knows what each of them names.
        resolved: How many workflows lost their last missing thing.
    """

    entries: tuple[WorkflowEntry, ...]
    read: int
    resolved: int
    reader: WorkflowReader

    def facts(self, entry: WorkflowEntry) -> WorkflowFacts | None:
        """Return what an entry's workflow names; None when it has changed since."""
        return self.reader.facts(entry.sha256, entry.path) if entry.sha256 else None


def assess_workflows(run: CycleContext, host: HostSnapshot, index: WorkflowIndex) -> Assessment:
    """Find, acknowledge, read and judge the workflows of the request's roots.

    Raises:
        Failure: `state-unwritable`; what was acknowledged until then is on disk.
    """
    layout = run.request.layout
    reader = WorkflowReader(index, host.table, run.request.settings.workflows.max_file_mb << 20)
    with run.phase("workflows"):
        taken = _run_intake(run, reader)
    with run.phase("verdicts"):
        judged = _judge_workflows(taken.known, reader, host, index)
        reader.save()
        hashes = [item.sha256 for item in taken.known.values() if item.sha256 in judged]
        inputs = _find_missing_inputs(run, {sha256: judged[sha256] for sha256 in hashes})
        known, resolved = _mark_resolved(taken.known, judged, inputs, run.now())
        if taken.has_changed or known != taken.known or not layout.known_workflows.exists():
            intake.save_known_workflows(layout.known_workflows, layout.intake_log, known)
    entries = [
        _build_entry(path, item, judged.get(item.sha256), inputs.get(item.sha256, ()))
        for path, item in known.items()
        if path not in taken.problems
    ]
    entries += [_build_unreadable_entry(path, known.get(path), problem) for path, problem in taken.problems.items()]
    return Assessment(tuple(sorted(entries, key=lambda entry: entry.path)), reader.read, resolved, reader)


@dataclass(frozen=True, slots=True)
class _IntakeResult:
    """The files of the roots, acknowledged.

    Attributes:
        known: What is known now, by shown path.
        has_changed: Whether that differs from what was known before.
        problems: Why files could not be read, by shown path.
    """

    known: dict[str, KnownWorkflow]
    has_changed: bool
    problems: dict[str, FileProblem]


def _run_intake(run: CycleContext, reader: WorkflowReader) -> _IntakeResult:
    """Find the files and acknowledge what is new of them; from then on that is on disk."""
    request = run.request
    suffixes = JSON_SUFFIXES | (MEDIA_SUFFIXES if request.settings.workflows.media else frozenset())
    listing = list_workflows(request.roots, suffixes=suffixes)
    run.problems += [f"{path}: {reason}" for path, reason in listing.problems]
    before, damaged = intake.load_known_workflows(request.layout.known_workflows, request.layout.intake_log)
    for one in damaged:
        run.note(one)
    if not request.sample:  # a first run's sample host is gone without a word once there is a real one
        sample = printable_path(request.layout.sample)
        before = {path: item for path, item in before.items() if not path.startswith(f"{sample}/")}
    signatures = (item.signature for item in before.values())
    files = reader.exclude_plain_media(listing.files, known=signatures)
    watched = request.roots
    if not request.settings.workflows.roots:
        # While the disk of ComfyUI's users is away there is no root to tell that their files are only out of reach.
        watched += (build_users_root(request.installation.base),)
    found = intake.compare_files(
        files,
        before,
        hash_file=reader.hash_file,
        gone=lambda path, device: is_gone(path, watched, device=device),
        at=run.now(),
        cycle=run.id,
    )
    intake.append_entries(request.layout.intake_log, found.added)
    listed = {printable_path(file.path) for file in files}
    away = FileProblem(FOLDER_UNAVAILABLE, "Its folder cannot be read at the moment.")
    problems = {path: away for path in found.known if path not in listed}
    problems |= {path: FileProblem("file-unreadable", reader.reason(path)) for path in found.unreadable}
    return _IntakeResult(found.known, bool(found.added) or found.known != before, problems)


def _judge_workflows(
    known: Mapping[str, KnownWorkflow], reader: WorkflowReader, host: HostSnapshot, index: WorkflowIndex
) -> dict[str, WorkflowVerdict]:
    context = f"{JUDGE_VERSION}:{host.fingerprint}"
    kept = index.verdicts(context)
    fresh: dict[str, WorkflowVerdict] = {}
    for path, item in known.items():
        if item.sha256 in kept or item.sha256 in fresh:
            continue
        facts = reader.facts(item.sha256, intake.decode_path(path, item.raw_path))
        if facts is not None:
            fresh[item.sha256] = judge_workflow(facts, host.inventory, host.judge_node, host.choices, host.rules)
    if fresh:
        index.add_verdicts(context, fresh)
    return {**kept, **fresh}


def _find_missing_inputs(
    run: CycleContext, judged: Mapping[str, WorkflowVerdict]
) -> dict[str, tuple[MissingInput, ...]]:
    """Return by content which files of the person's own are not there."""
    request = run.request
    folders = resolve_input_folders(request.installation, required=request.settings.workflows.require_inputs)
    missing = {sha256: folders.missing(one.inputs) for sha256, one in judged.items() if one.inputs}
    run.problems += folders.problems
    return missing


def _mark_resolved(
    known: Mapping[str, KnownWorkflow],
    judged: Mapping[str, WorkflowVerdict],
    inputs: Mapping[str, tuple[MissingInput, ...]],
    at: str,
) -> tuple[dict[str, KnownWorkflow], int]:
    """Note for each workflow whether it lacks something, and when it last ceased to."""
    marked = dict(known)
    resolved = 0
    for path, item in known.items():
        verdict = judged.get(item.sha256)
        if verdict is None or verdict.status is WorkflowStatus.INVALID:
            continue
        needs_inputs = any(one.required for one in inputs.get(item.sha256, ()))
        is_missing = bool(verdict.missing_models or verdict.missing_nodes or verdict.refused_inputs or needs_inputs)
        if item.was_missing is is_missing:
            continue
        resolved += item.was_missing is True
        marked[path] = msgspec.structs.replace(
            item, was_missing=is_missing, last_resolved_at=item.last_resolved_at if is_missing else at
        )
    return marked, resolved


def _build_entry(
    path: str, item: KnownWorkflow, judged: WorkflowVerdict | None, inputs: tuple[MissingInput, ...]
) -> WorkflowEntry:
    if judged is None:
        reason = "The file changed while it was read; the next cycle looks again."
        return _build_unreadable_entry(path, item, FileProblem("file-changed", reason))
    return WorkflowEntry(
        path=path,
        source=item.source,
        format=judged.format,
        container=judged.container,
        sha256=item.sha256,
        status=judged.status,
        models=judged.models,
        missing_models=judged.missing_models,
        missing_nodes=judged.missing_nodes,
        inactive_models=judged.inactive_models,
        uncertain_count=judged.uncertain_count,
        problems=judged.problems,
        last_resolved_at=item.last_resolved_at,
        intake=LastAcknowledgement(item.kind, item.source, item.acknowledged_at),
        missing_inputs=inputs,
        refused_inputs=judged.refused_inputs,
    )


def _build_unreadable_entry(path: str, item: KnownWorkflow | None, problem: FileProblem) -> WorkflowEntry:
    is_known = problem.code == "file-unreadable"
    return WorkflowEntry(
        path=path,
        source=item.source if item else "",
        format=None,
        container=None,
        sha256=None,
        status=WorkflowStatus.INVALID if is_known else WorkflowStatus.UNCERTAIN,
        models=0,
        missing_models=(),
        missing_nodes=(),
        inactive_models=(),
        uncertain_count=0 if is_known else 1,
        problems=(problem,),
        last_resolved_at=item.last_resolved_at if item else None,
        intake=LastAcknowledgement(item.kind, item.source, item.acknowledged_at) if item else None,
    )
