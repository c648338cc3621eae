"""Run one readiness cycle: gates, host, workflows, report, caches, search and downloads.

This module only calls the steps in order; the rules are in the modules of the steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Final

import msgspec

from comfywatchman.base.clock import format_utc
from comfywatchman.base.errors import Failure
from comfywatchman.base.failpoints import failpoint
from comfywatchman.base.files import delete_temporary_files
from comfywatchman.base.gpu.query import GpuReading, read_gpus
from comfywatchman.base.host import update_sleep_mark
from comfywatchman.base.lock import hold_lock
from comfywatchman.base.settings import ScheduleSection
from comfywatchman.base.text import describe_os_remedy
from comfywatchman.readiness.assessment.assessment import Assessment, assess_workflows
from comfywatchman.readiness.assessment.host_snapshot import HostSnapshot, inspect_host, write_caches
from comfywatchman.readiness.assessment.index import WorkflowIndex
from comfywatchman.readiness.context import CycleContext, CycleRequest
from comfywatchman.readiness.database import Database, open_database
from comfywatchman.readiness.gates import GateSettings, HostState, SkipReason, build_lock_held_reason, find_skip_reason
from comfywatchman.readiness.history import CycleRecord, add_record
from comfywatchman.readiness.report.build import HostConditions, build_report, build_skipped_report
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
from comfywatchman.readiness.states import NO_RESULT_DOUBTS
from comfywatchman.readiness.status import MasterStatus, MissingModel
from comfywatchman.readiness.unfinished import read_killed_cycle, remove_mark, write_mark
from comfywatchman.readiness.verdicts.compose import compose_entry
from comfywatchman.readiness.verdicts.environment import run_environment_checks

_MAX_LOGGED_MODELS: Final = 20
_MAX_LOGGED_PROBLEMS: Final = 20


@dataclass(frozen=True, slots=True)
class CycleResult:
    """Result of a cycle: its history record, and the report it wrote (None when it wrote none)."""

    record: CycleRecord
    status: MasterStatus | None


def run_cycle(request: CycleRequest) -> CycleResult:
    """Run one guarded cycle, or record why it did not start.

    Raises:
        Failure: `state-unwritable`; the files of earlier cycles stay complete.
    """
    cycle = CycleContext.begin(request)
    try:
        with hold_lock(request.layout.cycle_lock, command=f"{request.trigger} cycle", clock=request.clock):
            _record_killed_cycle(cycle)
            write_mark(request.layout.running_cycle, _build_record(cycle), request.clock)
            result = _run_with_lock(cycle)
            remove_mark(request.layout.running_cycle)
            return result
    except Failure as failure:
        if failure.code == "lock-held":
            record = _build_skip_record(cycle, build_lock_held_reason(failure.message))
            _save_record(cycle, record)
            return CycleResult(record, None)
        _save_failed_record(cycle, failure.message)
        raise
    except OSError as error:
        request.log.exception("cycle broke", extra={"cycle": cycle.id})
        state_failure = _convert_os_error(error)
        _save_failed_record(cycle, state_failure.message)
        raise state_failure from error
    # The edge of a cycle: every due cycle must leave a record, whatever its error; the caller still gets the error.
    except Exception as error:
        request.log.exception("cycle broke", extra={"cycle": cycle.id})
        _save_failed_record(cycle, f"{type(error).__name__}: {error}")
        raise


def _convert_os_error(error: OSError) -> Failure:
    return Failure(
        "state-unwritable",
        f"The cycle was aborted: {error.strerror or error}.",
        hint=f"{describe_os_remedy(error)} Then run the command again.",
    )


def _record_killed_cycle(cycle: CycleContext) -> None:
    """Record the cycle before this one when it was killed."""
    layout = cycle.request.layout
    killed = read_killed_cycle(layout.running_cycle, cycle.request.clock)
    if killed is not None:
        add_record(layout.history, killed, keep=cycle.request.settings.report.history_entries)
        _log_record(cycle, killed)
    remove_mark(layout.running_cycle)


def _run_with_lock(cycle: CycleContext) -> CycleResult:
    layout = cycle.request.layout
    gpus, skip_reason = _check_gates(cycle)
    if skip_reason is not None:
        status = build_skipped_report(cycle, gpus, skip_reason)
        write_report(layout, status, complete_commands=cycle.request.complete_commands)
        record = _build_skip_record(cycle, skip_reason)
        _save_record(cycle, record)
        return CycleResult(record, status)
    failpoint("cycle.after_gates")
    with closing(open_database(layout.database)) as database:
        return _run_full(cycle, gpus, database)


def _check_gates(cycle: CycleContext) -> tuple[GpuReading, SkipReason | None]:
    with cycle.phase("gates"):
        awake, problem = update_sleep_mark(cycle.request.layout.awake, cycle.request.clock)
        cycle.add_problem(problem)
        cycle.supervisor = cycle.request.read_supervisor()
        gpus = read_gpus(hung_probe=cycle.request.layout.hung_gpu_probe, clock=cycle.request.clock)
        host = HostState(gpus, awake.seconds_since_resume, awake.preparing_for_sleep, cycle.supervisor)
        return gpus, find_skip_reason(host, build_gate_settings(cycle.request.settings.schedule))


def build_gate_settings(schedule: ScheduleSection) -> GateSettings:
    """Return the part of the configuration that the gates use."""
    return GateSettings(
        min_vram_gb=schedule.min_vram_gb,
        gpu_policy=schedule.gpu_policy,
        gpu_index=schedule.gpu_index,
        no_gpu=schedule.no_gpu,
        unknown_gpu=schedule.unknown_gpu,
        max_gpu_memory_used_percent=schedule.max_gpu_memory_used_percent,
        resume_grace_seconds=schedule.resume_grace_seconds,
    )


def _run_full(cycle: CycleContext, gpus: GpuReading, database: Database) -> CycleResult:
    layout = cycle.request.layout
    # A killed writer leaves its temporary file behind.
    for folder in (layout.home.state, layout.status_json.parent):
        delete_temporary_files(folder)
    for problem in database.problems:
        cycle.add_problem(problem)
    index = WorkflowIndex(database)
    host = inspect_host(cycle, database)
    with closing(host.providers):
        assessment = assess_workflows(cycle, host, index)
    failpoint("cycle.after_workflows")
    conditions = HostConditions(gpus, run_environment_checks(cycle, gpus))
    cycle.problems += [*host.problems, *host.providers.problems, *index.problems]
    known = read_known_answers(cycle, host, assessment)
    # The first report is written before any network request, with the answers of the last search.
    status = _write_report(cycle, conditions, host, assessment, known.answers)
    # Hashing takes minutes on a new host, so it also comes after the first report.
    with cycle.phase("caches"):
        hashed = write_caches(cycle, host)
    answers = known.answers
    for answers in _search_and_download(cycle, host, assessment, database, known):
        status = _write_report(cycle, conditions, host, assessment, answers)
    if len(cycle.problems) > len(status.problems):
        # The problems that arose after the last report belong into the report, too.
        status = _write_report(cycle, conditions, host, assessment, answers)
    record = _build_success_record(cycle, status, assessment, hashed)
    _save_record(cycle, record, status)
    return CycleResult(record, status)


def _search_and_download(
    cycle: CycleContext, host: HostSnapshot, assessment: Assessment, database: Database, known: KnownAnswers
) -> Iterator[StoredAnswers]:
    """Search and plan when that is due, then run automatic downloads; yield the answers after each step."""
    answers = known.answers
    # Imported only when needed: most cycles neither search nor download.
    if known.must_ask:
        from comfywatchman.readiness.download_step import plan_downloads

        answers = run_search(cycle, host, assessment, database, known)
        answers = msgspec.structs.replace(answers, plan=plan_downloads(cycle, host, answers.results))
        store_results(host, answers)
        yield answers
    found = [result for result in answers.results if result.status is SearchStatus.FOUND]
    if cycle.request.settings.downloads.auto and answers.plan is not None and found:
        from comfywatchman.readiness.download_step import run_automatic_downloads

        outcomes = run_automatic_downloads(cycle, host, found)
        fetched = sum(outcome.how is not None for outcome in outcomes)
        yield msgspec.structs.replace(answers, plan=msgspec.structs.replace(answers.plan, fetched=fetched))


def _write_report(
    cycle: CycleContext, conditions: HostConditions, host: HostSnapshot, assessment: Assessment, answers: StoredAnswers
) -> MasterStatus:
    with cycle.phase("report"):
        searched = merge_search_results(
            assessment.entries, answers.results, plan=answers.plan, ask_again_at=answers.ask_again_at
        )
        entries = tuple(
            compose_entry(entry, conditions.environment, host.start_problems, is_server_running=host.comfyui_running)
            for entry in searched
        )
        status = build_report(cycle, conditions, host, entries, answers.plan, unread_folders=assessment.unread_folders)
        write_report(cycle.request.layout, status, host.models, complete_commands=cycle.request.complete_commands)
    return status


def _build_success_record(
    cycle: CycleContext, status: MasterStatus, assessment: Assessment, hashed: int
) -> CycleRecord:
    summary = status.summary
    return msgspec.structs.replace(
        _build_record(cycle),
        success=True,
        outcome="ran",
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
        errors=len(cycle.problems) + _count_unreachable_models(status),
        unknown_workflows=summary.unknown_workflows,
        uncertain_models=summary.uncertain_models,
        found_models=summary.found_models,
        uncertain_model_workflows=summary.uncertain_model_workflows,
    )


def _count_unreachable_models(status: MasterStatus) -> int:
    """Return the number of distinct models whose search ended with an error; one sentence names a site for all."""
    models = (model for entry in status.workflows for model in entry.missing_models if model.answer == "ERROR")
    return len({(model.folder, model.name) for model in models})


def _build_skip_record(cycle: CycleContext, reason: SkipReason) -> CycleRecord:
    return msgspec.structs.replace(
        _build_record(cycle), skipped_reason=reason.code, message=reason.message, outcome="skipped"
    )


def _build_record(cycle: CycleContext) -> CycleRecord:
    return CycleRecord(
        id=cycle.id,
        trigger=cycle.request.trigger,
        started_at=format_utc(cycle.started),
        duration_seconds=cycle.seconds(),
        success=False,
        phases=cycle.phases,
        comfyui=cycle.comfyui.id,
        comfyui_root=cycle.comfyui.root,
    )


def _save_failed_record(cycle: CycleContext, message: str) -> None:
    record = msgspec.structs.replace(_build_record(cycle), message=message, outcome="failed")
    try:
        _save_record(cycle, record)
        remove_mark(cycle.request.layout.running_cycle)
    # Often the same full disk that broke the cycle; its own error is the one to raise.
    except (Failure, OSError) as error:
        cycle.request.log.warning("history not written", extra={"cycle": cycle.id, "detail": str(error)})
        _log_record(cycle, record)


def _save_record(cycle: CycleContext, record: CycleRecord, status: MasterStatus | None = None) -> None:
    """Append the record to the history and log its summary."""
    request = cycle.request
    add_record(request.layout.history, record, keep=request.settings.report.history_entries)
    _log_record(cycle, record, status)


def _log_record(cycle: CycleContext, record: CycleRecord, status: MasterStatus | None = None) -> None:
    event = "cycle finished" if record.result == "ran" else f"cycle {record.result}"
    cycle.request.log.info(
        event,
        extra={
            "cycle": record.id,
            "trigger": record.trigger,
            "comfyui": record.comfyui_root,
            "duration_seconds": record.duration_seconds,
            "phases": record.phases,
            "workflows_scanned": record.workflows,
            "workflows_read": record.read,
            "ready": record.ready,
            "resolved": record.resolved,
            "UNCERTAIN": record.uncertain,
            "UNCERTAIN_models": record.uncertain_models,
            "UNCERTAIN_model_workflows": record.uncertain_model_workflows,
            "FOUND_models": record.found_models,
            "unknown_workflows": record.unknown_workflows,
            "uncertain_models": _list_uncertain_models(status),
            "errors": record.errors,
            "skipped_reason": record.skipped_reason,
            "detail": record.message,
            "problems": cycle.problems[:_MAX_LOGGED_PROBLEMS],
        },
    )


def _list_uncertain_models(status: MasterStatus | None) -> dict[str, list[str]]:
    """Return the candidates of each model whose search result is UNCERTAIN, by folder and name.

    Models that no words led to are left out: there is nothing to look at.
    """
    uncertain: dict[str, list[str]] = {}
    if status is None:
        return uncertain
    for entry in status.workflows:
        for model in entry.missing_models:
            if model.answer != "UNCERTAIN" or model.doubt in NO_RESULT_DOUBTS:
                continue
            uncertain[f"{model.folder or '?'}/{model.name}"] = _describe_candidates(model)
            if len(uncertain) == _MAX_LOGGED_MODELS:
                return uncertain
    return uncertain


def _describe_candidates(model: MissingModel) -> list[str]:
    return [f"{candidate.source}: {candidate.name or candidate.url}" for candidate in model.candidates]
