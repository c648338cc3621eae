"""Builds the master status of a cycle that ran and of one that was skipped."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import msgspec

from comfywatchman.base.clock import format_utc
from comfywatchman.base.files import CorruptFile, printable_path
from comfywatchman.base.gpu.query import GpuReading
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.readiness.assessment.host_snapshot import HostSnapshot
from comfywatchman.readiness.context import CycleContext
from comfywatchman.readiness.gates import SkipReason
from comfywatchman.readiness.host_summary import CycleSummary, GpuSummary, HostSummary, RecentAcknowledgement
from comfywatchman.readiness.report.write import read_report, summarise
from comfywatchman.readiness.status import NOT_GOVERNED, Environment, MasterStatus, PlanSummary, Summary, WorkflowEntry
from comfywatchman.readiness.workflows.intake import read_last_entries


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
) -> MasterStatus:
    """Build the report of a cycle that ran.

    Args:
        cycle: The cycle.
        conditions: The GPUs and the Python environment.
        host: The host.
        entries: The workflows with their final verdicts.
        plan: The downloads of missing models.
    """
    now = cycle.now()
    request = cycle.request
    return MasterStatus(
        generated_at=now,
        checked_at=now,
        valid_until=_compute_valid_until(cycle),
        cycle=_build_cycle_summary(cycle, None),
        host=build_host_summary(request.installation, conditions.gpus, host, sample=request.sample),
        summary=summarise(entries),
        workflows=entries,
        intake=_read_intake(cycle),
        environment=conditions.environment,
        problems=tuple(cycle.problems),
        plan=plan,
        start_problems=host.start_problems,
    )


def build_skipped_report(cycle: CycleContext, gpus: GpuReading, reason: SkipReason) -> MasterStatus:
    """Build the report of a skipped cycle: the last report with the reason on top and its verdicts unchanged."""
    last = read_report(cycle.request.layout)
    if isinstance(last, CorruptFile):
        cycle.add_problem(last)
    if not isinstance(last, MasterStatus):
        last = _build_empty_report(cycle, gpus, reason)
    # Problems of the last report still hold; dict.fromkeys drops those that this cycle met again.
    problems = tuple(dict.fromkeys((*cycle.problems, *last.problems)))
    request = cycle.request
    return msgspec.structs.replace(
        last,
        generated_at=cycle.now(),
        valid_until=_compute_valid_until(cycle),
        cycle=_build_cycle_summary(cycle, reason),
        host=build_host_summary(request.installation, gpus, None, sample=request.sample),
        problems=problems,
    )


def build_host_summary(
    installation: Installation, gpus: GpuReading, host: HostSnapshot | None, *, sample: bool
) -> HostSummary:
    """Build the report's summary of the host.

    Args:
        installation: The watched ComfyUI.
        gpus: The GPUs.
        host: The host; None for a skipped cycle, which did not inspect it and takes ComfyUI as not running.
        sample: Whether this is the sample host of a first run.
    """
    version, is_running, ignored_server = installation.version, False, None
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
        sample=sample,
        ignored_server=ignored_server,
    )


def _build_empty_report(cycle: CycleContext, gpus: GpuReading, reason: SkipReason) -> MasterStatus:
    """Build the report of a host whose very first cycle is skipped."""
    request = cycle.request
    environment = NOT_GOVERNED
    if request.environment_checks is not None:
        environment = Environment(state="unknown")
    return MasterStatus(
        generated_at=cycle.now(),
        checked_at=None,
        valid_until="",
        cycle=_build_cycle_summary(cycle, reason),
        host=build_host_summary(request.installation, gpus, None, sample=request.sample),
        summary=Summary(),
        workflows=(),
        intake=_read_intake(cycle),
        environment=environment,
        problems=(),
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
    return format_utc(cycle.started + timedelta(minutes=schedule.interval_minutes + schedule.grace_minutes))


def _read_intake(cycle: CycleContext) -> tuple[RecentAcknowledgement, ...]:
    entries = read_last_entries(cycle.request.layout.intake_log, cycle.request.settings.report.intake_entries)
    return tuple(
        RecentAcknowledgement(entry.at, entry.kind, entry.path, entry.source, entry.previous_path) for entry in entries
    )
