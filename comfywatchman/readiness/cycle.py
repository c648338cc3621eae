"""One readiness cycle: gates, host, workflows, report, caches. It calls the rooms in order and holds no rule."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice

import msgspec

from comfywatchman.base.clock import to_text
from comfywatchman.base.errors import Failure
from comfywatchman.base.failpoints import failpoint
from comfywatchman.base.files import sweep_unfinished
from comfywatchman.base.gpu.query import GpuReading, read_gpus
from comfywatchman.base.host import look_and_remember
from comfywatchman.base.lock import hold
from comfywatchman.base.settings import ScheduleSection
from comfywatchman.readiness.assessment.assessment import Assessment, assess
from comfywatchman.readiness.assessment.host_snapshot import HostView, look_at_host, write_caches
from comfywatchman.readiness.assessment.index import WorkflowIndex
from comfywatchman.readiness.context import CycleRequest, Run
from comfywatchman.readiness.database import Database, open_database
from comfywatchman.readiness.gates import GateSettings, HostState, SkipReason, another_cycle, reason_to_skip
from comfywatchman.readiness.history import CycleRecord, add_record
from comfywatchman.readiness.report.build import Surroundings, full_status, skipped_status
from comfywatchman.readiness.report.search_results import with_answers
from comfywatchman.readiness.report.write import write_report
from comfywatchman.readiness.search.results import SearchStatus
from comfywatchman.readiness.search_step import Answers, Known, ask, keep, known_answers
from comfywatchman.readiness.status import MasterStatus, WorkflowEntry
from comfywatchman.readiness.verdicts.environment import look_at_environment, with_environment


@dataclass(frozen=True, slots=True)
class CycleResult:
    """How a cycle ended: its record, and the report that stands now (None when nothing could be written)."""

    record: CycleRecord
    status: MasterStatus | None


def run_cycle(request: CycleRequest) -> CycleResult:
    """Run one guarded cycle, or record why it did not start.

    Raises:
        Failure: `state-unwritable`; the files of earlier cycles stand whole.
    """
    run = Run.begin(request)
    try:
        with hold(request.layout.cycle_lock, command=f"{request.trigger} cycle", clock=request.clock):
            return _guarded(run)
    except Failure as failure:
        if failure.code == "lock-held":
            record = _skipped(run, another_cycle(failure.message))
            _keep(run, record)
            return CycleResult(record, None)
        _keep_failed(run, failure.message)
        raise
    except OSError as error:
        request.log.exception("cycle broke", extra={"cycle": run.id})
        trouble = _system_failure(error)
        _keep_failed(run, trouble.message)
        raise trouble from error
    except Exception as error:  # the edge of a cycle: whatever broke, the tick leaves a record; the caller hears of it
        request.log.exception("cycle broke", extra={"cycle": run.id})
        _keep_failed(run, f"{type(error).__name__}: {error}")
        raise


def _system_failure(error: OSError) -> Failure:
    return Failure(
        "state-unwritable",
        f"The cycle could not go on: {error.strerror or error}.",
        hint="Free space or fix the permissions of the home folder, then run the command again.",
    )


def _guarded(run: Run) -> CycleResult:
    layout = run.request.layout
    gpus, reason = _ask_gates(run)
    if reason is not None:
        status = skipped_status(run, gpus, reason)
        write_report(layout, status)
        record = _skipped(run, reason)
        _keep(run, record)
        return CycleResult(record, status)
    failpoint("cycle.after_gates")
    with closing(open_database(layout.database)) as database:
        return _full(run, gpus, database)


def _ask_gates(run: Run) -> tuple[GpuReading, SkipReason | None]:
    with run.phase("gates"):
        awake, trouble = look_and_remember(run.request.layout.awake, run.request.clock)
        run.note(trouble)
        gpus = read_gpus()
        host = HostState(gpus, awake.seconds_since_resume, awake.preparing_for_sleep)
        return gpus, reason_to_skip(host, gate_settings(run.request.settings.schedule))


def gate_settings(schedule: ScheduleSection) -> GateSettings:
    """Return the part of the configuration that the gates read."""
    return GateSettings(
        min_vram_gb=schedule.min_vram_gb,
        gpu_policy=schedule.gpu_policy,
        gpu_index=schedule.gpu_index,
        no_gpu=schedule.no_gpu,
        unknown_gpu=schedule.unknown_gpu,
        max_gpu_memory_used_percent=schedule.max_gpu_memory_used_percent,
        resume_grace_seconds=schedule.resume_grace_seconds,
    )


def _full(run: Run, gpus: GpuReading, database: Database) -> CycleResult:
    for folder in (run.request.layout.home.state, run.request.layout.status_json.parent):
        sweep_unfinished(folder)
    for problem in database.problems:
        run.note(problem)
    index = WorkflowIndex(database)
    host = look_at_host(run, database)
    with closing(host.owners):
        assessment = assess(run, host, index)
    failpoint("cycle.after_workflows")
    around = Surroundings(gpus, look_at_environment(run, gpus))
    entries = with_environment(assessment.entries, around.environment, is_running=host.comfyui_running)
    assessment = replace(assessment, entries=entries)
    run.problems += [*host.problems, *host.owners.problems, *index.problems]
    known = known_answers(run, host, assessment)
    # The first report waits for no network; the models' words in it are those of the last search.
    status = _report(run, around, host, assessment, known.answers)
    with run.phase("caches"):
        hashed = write_caches(run, host)
    answers = known.answers
    for answers in _newer_answers(run, host, assessment, database, known):
        status = _report(run, around, host, assessment, answers)
    if len(run.problems) > len(status.problems):
        # What went wrong after the last report is to be read in it, too.
        status = _report(run, around, host, assessment, answers)
    record = _done(run, status, assessment, hashed)
    _keep(run, record, status)
    return CycleResult(record, status)


def _newer_answers(
    run: Run, host: HostView, assessment: Assessment, database: Database, known: Known
) -> Iterator[Answers]:
    """Ask and plan where that is due, then fetch where nobody needs to be asked; each step gives a report's answers."""
    answers = known.answers
    if known.must_ask:
        from comfywatchman.readiness.download_step import plan_downloads

        answers = ask(run, host, assessment, database, known.digest)
        answers = msgspec.structs.replace(answers, plan=plan_downloads(run, host, answers.results))
        keep(host, answers)
        yield answers
    found = [result for result in answers.results if result.status is SearchStatus.FOUND]
    if run.request.settings.downloads.auto and answers.plan is not None and found:
        from comfywatchman.readiness.download_step import fetch_at_once

        fetched = sum(outcome.how is not None for outcome in fetch_at_once(run, host, found))
        yield msgspec.structs.replace(answers, plan=msgspec.structs.replace(answers.plan, fetched=fetched))


def _report(run: Run, around: Surroundings, host: HostView, assessment: Assessment, answers: Answers) -> MasterStatus:
    with run.phase("report"):
        entries = with_answers(
            assessment.entries, answers.results, plan=answers.plan, ask_again_at=answers.ask_again_at
        )
        status = full_status(run, around, host, replace(assessment, entries=entries), answers.plan)
        write_report(run.request.layout, status, host.models)
    return status


def _done(run: Run, status: MasterStatus, assessment: Assessment, hashed: int) -> CycleRecord:
    summary = status.summary
    return msgspec.structs.replace(
        _record(run),
        success=True,
        workflows=summary.workflows,
        read=assessment.read,
        ready=summary.ready,
        missing=summary.missing,
        uncertain=summary.uncertain,
        invalid=summary.invalid,
        missing_models=summary.missing_models,
        missing_nodes=summary.missing_nodes,
        resolved=assessment.resolved,
        hashed=hashed,
        errors=len(run.problems),
    )


def _skipped(run: Run, reason: SkipReason) -> CycleRecord:
    return msgspec.structs.replace(_record(run), skipped_reason=reason.code, message=reason.message)


def _record(run: Run) -> CycleRecord:
    return CycleRecord(
        id=run.id,
        trigger=run.request.trigger,
        started_at=to_text(run.started),
        duration_seconds=run.seconds(),
        success=False,
        phases=run.phases,
    )


def _keep_failed(run: Run, message: str) -> None:
    """Record a cycle that failed; what keeps the record from being written is most likely what broke the cycle."""
    record = msgspec.structs.replace(_record(run), message=message)
    try:
        _keep(run, record)
    except (Failure, OSError) as error:
        run.request.log.warning("history not written", extra={"cycle": run.id, "detail": str(error)})
        _log(run, record)


def _keep(run: Run, record: CycleRecord, status: MasterStatus | None = None) -> None:
    """Write the one line of history and the one summary line of the log."""
    request = run.request
    add_record(request.layout.history, record, keep=request.settings.report.history_entries)
    _log(run, record, status)


def _doubts(entries: Iterable[WorkflowEntry]) -> Mapping[str, list[str]]:
    """Return the models of which it is not certain which file is meant, with the files that it could be."""
    doubtful = {
        f"{model.folder or '?'}/{model.name}": [f"{one.source}: {one.name or one.url}" for one in model.candidates]
        for entry in entries
        for model in entry.missing_models
        if model.answer == "UNCERTAIN"
    }
    return dict(islice(doubtful.items(), 20))


def _log(run: Run, record: CycleRecord, status: MasterStatus | None = None) -> None:
    run.request.log.info(
        "cycle finished" if record.success else "cycle skipped" if record.skipped_reason else "cycle failed",
        extra={
            "cycle": record.id,
            "trigger": record.trigger,
            "duration_seconds": record.duration_seconds,
            "phases": record.phases,
            "workflows_scanned": record.workflows,
            "workflows_read": record.read,
            "ready": record.ready,
            "resolved": record.resolved,
            "UNCERTAIN": record.uncertain,
            "uncertain_models": _doubts(status.workflows if status is not None else ()),
            "errors": record.errors,
            "skipped_reason": record.skipped_reason,
            "problems": run.problems[:20],
        },
    )
