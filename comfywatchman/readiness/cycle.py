"""One readiness cycle: gates, host, workflows, report, caches. It calls the rooms in order and holds no rule."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

import msgspec

from comfywatchman.base.clock import format_utc
from comfywatchman.base.errors import Failure
from comfywatchman.base.failpoints import failpoint
from comfywatchman.base.files import delete_unfinished
from comfywatchman.base.gpu.query import GpuReading, read_gpus
from comfywatchman.base.host import update_sleep_mark
from comfywatchman.base.lock import hold_lock
from comfywatchman.base.settings import ScheduleSection
from comfywatchman.readiness.assessment.assessment import Assessment, assess_workflows
from comfywatchman.readiness.assessment.host_snapshot import HostSnapshot, inspect_host, write_caches
from comfywatchman.readiness.assessment.index import WorkflowIndex
from comfywatchman.readiness.context import CycleContext, CycleRequest
from comfywatchman.readiness.database import Database, open_database
from comfywatchman.readiness.gates import GateSettings, HostState, SkipReason, build_lock_held_reason, find_skip_reason
from comfywatchman.readiness.history import CycleRecord, add_record
from comfywatchman.readiness.report.build import Surroundings, build_report, build_skipped_report
from comfywatchman.readiness.report.search_results import merge_search_results
from comfywatchman.readiness.report.write import write_report
from comfywatchman.readiness.search.results import SearchStatus
from comfywatchman.readiness.search_step import (
    KnownAnswers,
    StoredAnswers,
    read_known_answers,
    run_search,
    store_results,
)
from comfywatchman.readiness.status import MasterStatus, WorkflowEntry
from comfywatchman.readiness.verdicts.compose import compose_entry
from comfywatchman.readiness.verdicts.environment import run_environment_checks


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
    run = CycleContext.begin(request)
    try:
        with hold_lock(request.layout.cycle_lock, command=f"{request.trigger} cycle", clock=request.clock):
            return _run_with_lock(run)
    except Failure as failure:
        if failure.code == "lock-held":
            record = _build_skip_record(run, build_lock_held_reason(failure.message))
            _save_record(run, record)
            return CycleResult(record, None)
        _save_failed_record(run, failure.message)
        raise
    except OSError as error:
        request.log.exception("cycle broke", extra={"cycle": run.id})
        trouble = _convert_os_error(error)
        _save_failed_record(run, trouble.message)
        raise trouble from error
    except Exception as error:  # the edge of a cycle: whatever broke, the tick leaves a record; the caller hears of it
        request.log.exception("cycle broke", extra={"cycle": run.id})
        _save_failed_record(run, f"{type(error).__name__}: {error}")
        raise


def _convert_os_error(error: OSError) -> Failure:
    return Failure(
        "state-unwritable",
        f"The cycle could not go on: {error.strerror or error}.",
        hint="Free space or fix the permissions of the home folder, then run the command again.",
    )


def _run_with_lock(run: CycleContext) -> CycleResult:
    layout = run.request.layout
    gpus, reason = _check_gates(run)
    if reason is not None:
        status = build_skipped_report(run, gpus, reason)
        write_report(layout, status)
        record = _build_skip_record(run, reason)
        _save_record(run, record)
        return CycleResult(record, status)
    failpoint("cycle.after_gates")
    with closing(open_database(layout.database)) as database:
        return _run_full(run, gpus, database)


def _check_gates(run: CycleContext) -> tuple[GpuReading, SkipReason | None]:
    with run.phase("gates"):
        awake, trouble = update_sleep_mark(run.request.layout.awake, run.request.clock)
        run.note(trouble)
        gpus = read_gpus()
        host = HostState(gpus, awake.seconds_since_resume, awake.preparing_for_sleep)
        return gpus, find_skip_reason(host, build_gate_settings(run.request.settings.schedule))


def build_gate_settings(schedule: ScheduleSection) -> GateSettings:
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


def _run_full(run: CycleContext, gpus: GpuReading, database: Database) -> CycleResult:
    for folder in (run.request.layout.home.state, run.request.layout.status_json.parent):
        delete_unfinished(folder)
    for problem in database.problems:
        run.note(problem)
    index = WorkflowIndex(database)
    host = inspect_host(run, database)
    with closing(host.owners):
        assessment = assess_workflows(run, host, index)
    failpoint("cycle.after_workflows")
    around = Surroundings(gpus, run_environment_checks(run, gpus))
    run.problems += [*host.problems, *host.owners.problems, *index.problems]
    known = read_known_answers(run, host, assessment)
    # The first report waits for no network; the models' words in it are those of the last search.
    status = _write_report(run, around, host, assessment, known.answers)
    with run.phase("caches"):
        hashed = write_caches(run, host)
    answers = known.answers
    for answers in _search_and_download(run, host, assessment, database, known):
        status = _write_report(run, around, host, assessment, answers)
    if len(run.problems) > len(status.problems):
        # What went wrong after the last report is to be read in it, too.
        status = _write_report(run, around, host, assessment, answers)
    record = _build_success_record(run, status, assessment, hashed)
    _save_record(run, record, status)
    return CycleResult(record, status)


def _search_and_download(
    run: CycleContext, host: HostSnapshot, assessment: Assessment, database: Database, known: KnownAnswers
) -> Iterator[StoredAnswers]:
    """Ask and plan where that is due, then fetch where nobody needs to be asked; each step gives a report's answers."""
    answers = known.answers
    if known.must_ask:
        from comfywatchman.readiness.download_step import plan_downloads

        answers = run_search(run, host, assessment, database, known.digest)
        answers = msgspec.structs.replace(answers, plan=plan_downloads(run, host, answers.results))
        store_results(host, answers)
        yield answers
    found = [result for result in answers.results if result.status is SearchStatus.FOUND]
    if run.request.settings.downloads.auto and answers.plan is not None and found:
        from comfywatchman.readiness.download_step import run_automatic_downloads

        fetched = sum(outcome.how is not None for outcome in run_automatic_downloads(run, host, found))
        yield msgspec.structs.replace(answers, plan=msgspec.structs.replace(answers.plan, fetched=fetched))


def _write_report(
    run: CycleContext, around: Surroundings, host: HostSnapshot, assessment: Assessment, answers: StoredAnswers
) -> MasterStatus:
    with run.phase("report"):
        searched = merge_search_results(
            assessment.entries, answers.results, plan=answers.plan, ask_again_at=answers.ask_again_at
        )
        entries = tuple(
            compose_entry(entry, around.environment, is_server_running=host.comfyui_running) for entry in searched
        )
        status = build_report(run, around, host, entries, answers.plan)
        write_report(run.request.layout, status, host.models)
    return status


def _build_success_record(run: CycleContext, status: MasterStatus, assessment: Assessment, hashed: int) -> CycleRecord:
    summary = status.summary
    return msgspec.structs.replace(
        _build_record(run),
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


def _build_skip_record(run: CycleContext, reason: SkipReason) -> CycleRecord:
    return msgspec.structs.replace(_build_record(run), skipped_reason=reason.code, message=reason.message)


def _build_record(run: CycleContext) -> CycleRecord:
    return CycleRecord(
        id=run.id,
        trigger=run.request.trigger,
        started_at=format_utc(run.started),
        duration_seconds=run.seconds(),
        success=False,
        phases=run.phases,
    )


def _save_failed_record(run: CycleContext, message: str) -> None:
    """Record a cycle that failed; what keeps the record from being written is most likely what broke the cycle."""
    record = msgspec.structs.replace(_build_record(run), message=message)
    try:
        _save_record(run, record)
    except (Failure, OSError) as error:
        run.request.log.warning("history not written", extra={"cycle": run.id, "detail": str(error)})
        _log_record(run, record)


def _save_record(run: CycleContext, record: CycleRecord, status: MasterStatus | None = None) -> None:
    """Write the one line of history and the one summary line of the log."""
    request = run.request
    add_record(request.layout.history, record, keep=request.settings.report.history_entries)
    _log_record(run, record, status)


def _list_uncertain_models(entries: Iterable[WorkflowEntry]) -> Mapping[str, list[str]]:
    """Return the models of which it is not certain which file is meant, with the files that it could be."""
    doubtful = {
        f"{model.folder or '?'}/{model.name}": [f"{one.source}: {one.name or one.url}" for one in model.candidates]
        for entry in entries
        for model in entry.missing_models
        if model.answer == "UNCERTAIN"
    }
    return dict(islice(doubtful.items(), 20))


def _log_record(run: CycleContext, record: CycleRecord, status: MasterStatus | None = None) -> None:
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
            "uncertain_models": _list_uncertain_models(status.workflows if status is not None else ()),
            "errors": record.errors,
            "skipped_reason": record.skipped_reason,
            "problems": run.problems[:20],
        },
    )
