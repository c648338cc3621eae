"""Builds the master status of a cycle that ran and of one that was skipped."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from comfywatchman.base.clock import format_utc, move_time
from comfywatchman.base.files import printable_path
from comfywatchman.base.gpu.query import GpuReading
from comfywatchman.base.state.state_file import CorruptFile
from comfywatchman.readiness.assessment.host_snapshot import HostSnapshot
from comfywatchman.readiness.context import CycleContext
from comfywatchman.readiness.gates import SkipReason
from comfywatchman.readiness.host_summary import CycleSummary, GpuSummary, HostSummary, RecentAcknowledgement, Summary
from comfywatchman.readiness.plan_summary import PlanSummary
from comfywatchman.readiness.report.redaction import redact_inputs
from comfywatchman.readiness.report.write import read_own_report, summarise
from comfywatchman.readiness.status import Environment, MasterStatus, UnreadFolder, WorkflowEntry
from comfywatchman.readiness.workflows.intake_log import read_last_entries


@dataclass(frozen=True, slots=True)
class HostConditions:
    """The GPUs and the Python environment, read once for all reports of a cycle."""

    gpus: GpuReading
    environment: Environment


def build_report(
    cycle: CycleContext,
    conditions: HostConditions,
    host: HostSnapshot,
    entries: tuple[WorkflowEntry, ...],
    plan: PlanSummary | None = None,
    *,
    unread_folders: tuple[UnreadFolder, ...] = (),
) -> MasterStatus:
    """Build the report of a cycle that ran.

    Args:
        cycle: The cycle.
        conditions: The GPUs and the Python environment.
        host: The host.
        entries: The workflows with their final verdicts.
        plan: The downloads of missing models.
        unread_folders: Places with workflows that could not be looked at.
    """
    now = cycle.now()
    summary = summarise(entries)
    if cycle.request.settings.report.redact_inputs:
        entries = redact_inputs(entries)
    return MasterStatus(
        generated_at=now,
        checked_at=now,
        valid_until=_compute_valid_until(cycle),
        watched_until=_compute_valid_until(cycle),
        cycle=_build_cycle_summary(cycle, None),
        host=build_host_summary(cycle, conditions.gpus, host),
        summary=summary,
        workflows=entries,
        intake=_read_intake(cycle),
        environment=conditions.environment,
        problems=tuple(cycle.problems),
        plan=plan,
        start_problems=host.start_problems,
        unread_folders=unread_folders,
        comfyui=cycle.comfyui,
    )


def build_skipped_report(cycle: CycleContext, gpus: GpuReading, reason: SkipReason) -> MasterStatus:
    """Build the report of a skipped cycle: the last report with the reason on top and its verdicts unchanged."""
    # The verdicts of another ComfyUI say nothing about this one.
    last = read_own_report(cycle.request.layout, cycle.comfyui)
    if isinstance(last, CorruptFile):
        cycle.add_problem(last)
    if not isinstance(last, MasterStatus):
        last = _build_empty_report(cycle, gpus, reason)
    # Problems of the last report still hold; dict.fromkeys drops those that this cycle met again.
    problems = tuple(dict.fromkeys((*cycle.problems, *last.problems)))
    return msgspec.structs.replace(
        last,
        generated_at=cycle.now(),
        # The verdicts stay as old as they are.
        watched_until=_compute_valid_until(cycle),
        cycle=_build_cycle_summary(cycle, reason),
        host=build_host_summary(cycle, gpus, None),
        problems=problems,
        # It may have been moved since.
        comfyui=cycle.comfyui,
    )


def build_host_summary(cycle: CycleContext, gpus: GpuReading, host: HostSnapshot | None) -> HostSummary:
    """Build the report's summary of the host.

    Args:
        cycle: The cycle.
        gpus: The GPUs.
        host: The host; None for a skipped cycle, which did not inspect it: whether ComfyUI runs is then taken from its
            supervisor.
    """
    installation, supervisor = cycle.request.installation, cycle.supervisor
    version, ignored_server = installation.version, None
    is_running = supervisor is not None and supervisor.is_working
    if host is not None:
        ignored_server = host.ignored_server
        version, is_running = host.comfyui_version or version, host.comfyui_running
    return HostSummary(
        gpus=tuple(
            GpuSummary(device.index, device.name, device.memory_total_bytes, device.memory_free_bytes, mig=device.mig)
            for device in gpus.devices
        ),
        gpu_status=gpus.status,
        comfyui_root=printable_path(installation.root),
        comfyui_version=version,
        comfyui_running=is_running,
        sample=cycle.request.sample,
        ignored_server=ignored_server,
        supervisor=supervisor,
    )


def _build_empty_report(cycle: CycleContext, gpus: GpuReading, reason: SkipReason) -> MasterStatus:
    """Build the report of a host whose very first cycle is skipped."""
    request = cycle.request
    environment = request.ungoverned
    if request.environment_checks is not None:
        environment = Environment(state="unknown")
    return MasterStatus(
        generated_at=cycle.now(),
        checked_at=None,
        valid_until=_compute_valid_until(cycle),
        cycle=_build_cycle_summary(cycle, reason),
        host=build_host_summary(cycle, gpus, None),
        summary=Summary(),
        workflows=(),
        intake=_read_intake(cycle),
        environment=environment,
        problems=(),
        comfyui=cycle.comfyui,
    )


def _build_cycle_summary(cycle: CycleContext, reason: SkipReason | None) -> CycleSummary:
    summary = CycleSummary(
        id=cycle.id,
        trigger=cycle.request.trigger,
        started_at=format_utc(cycle.started),
        duration_seconds=cycle.seconds(),
        success=reason is None,
        skipped_reason=None,
    )
    if reason is None:
        return summary
    return msgspec.structs.replace(summary, skipped_reason=reason.code, message=reason.message)


def _compute_valid_until(cycle: CycleContext) -> str:
    schedule = cycle.request.settings.schedule
    return format_utc(move_time(cycle.started, 60 * (schedule.interval_minutes + schedule.grace_minutes)))


def _read_intake(cycle: CycleContext) -> tuple[RecentAcknowledgement, ...]:
    request = cycle.request
    entries = read_last_entries(
        request.layout.intake_log, request.settings.report.intake_entries, comfyui=cycle.comfyui.id
    )
    return tuple(
        RecentAcknowledgement(entry.at, entry.kind, entry.path, entry.source, entry.previous_path) for entry in entries
    )
