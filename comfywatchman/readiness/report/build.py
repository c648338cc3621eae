"""Putting the master status together, for a cycle that ran and for one that was skipped."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import msgspec

from comfywatchman.base.clock import format_utc
from comfywatchman.base.files import CorruptFile, printable_path
from comfywatchman.base.gpu.query import GpuReading
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.readiness.assessment.host_snapshot import HostSnapshot
from comfywatchman.readiness.context import CycleContext
from comfywatchman.readiness.gates import SkipReason
from comfywatchman.readiness.report.write import read_report, summarise
from comfywatchman.readiness.status import (
    NOT_GOVERNED,
    CycleSummary,
    Environment,
    GpuSummary,
    HostSummary,
    MasterStatus,
    PlanSummary,
    RecentAcknowledgement,
    Summary,
    WorkflowEntry,
)
from comfywatchman.readiness.workflows.intake import read_last_entries


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What workflows run in, beside models and nodes: the GPUs and the Python environment."""

    gpus: GpuReading
    environment: Environment


def build_report(
    run: CycleContext,
    around: Surroundings,
    host: HostSnapshot,
    entries: tuple[WorkflowEntry, ...],
    plan: PlanSummary | None = None,
) -> MasterStatus:
    """Build the report of a cycle that ran.

    Args:
        run: The cycle.
        around: The GPUs and the Python environment.
        host: The host.
        entries: The workflows with their final verdicts.
        plan: The downloads for what is missing.
    """
    now = run.now()
    return MasterStatus(
        generated_at=now,
        checked_at=now,
        valid_until=_compute_valid_until(run),
        cycle=_build_cycle_facts(run, None),
        host=build_host_facts(run.request.installation, around.gpus, host, sample=run.request.sample),
        summary=summarise(entries),
        workflows=entries,
        intake=_read_intake(run),
        environment=around.environment,
        problems=tuple(run.problems),
        plan=plan,
    )


def build_skipped_report(run: CycleContext, gpus: GpuReading, reason: SkipReason) -> MasterStatus:
    """Return the last report with the reason on top; the verdicts stand as they were last found."""
    last = read_report(run.request.layout)
    if isinstance(last, CorruptFile):
        run.add_problem(last)
    facts = build_host_facts(run.request.installation, gpus, None, sample=run.request.sample)
    if not isinstance(last, MasterStatus):
        last = MasterStatus(
            generated_at=run.now(),
            checked_at=None,
            valid_until="",
            cycle=_build_cycle_facts(run, reason),
            host=facts,
            summary=Summary(),
            workflows=(),
            intake=_read_intake(run),
            environment=NOT_GOVERNED if run.request.environment_checks is None else Environment(state="unknown"),
            problems=(),
        )
    return msgspec.structs.replace(
        last,
        generated_at=run.now(),
        valid_until=_compute_valid_until(run),
        cycle=_build_cycle_facts(run, reason),
        host=facts,
        problems=tuple(dict.fromkeys((*run.problems, *last.problems))),
    )


def build_host_facts(
    installation: Installation, gpus: GpuReading, host: HostSnapshot | None, *, sample: bool
) -> HostSummary:
    """Return what is said of the host; without a view of it, whether ComfyUI runs is taken as no."""
    return HostSummary(
        gpus=tuple(
            GpuSummary(device.index, device.name, device.memory_total_bytes, device.memory_free_bytes, mig=device.mig)
            for device in gpus.devices
        ),
        gpu_status=gpus.status,
        comfyui_root=_show(installation.root),
        comfyui_version=(host.comfyui_version if host else None) or installation.version,
        comfyui_running=host.comfyui_running if host else False,
        sample=sample,
    )


def _build_cycle_facts(run: CycleContext, reason: SkipReason | None) -> CycleSummary:
    return CycleSummary(
        id=run.id,
        trigger=run.request.trigger,
        started_at=format_utc(run.started),
        duration_seconds=run.seconds(),
        success=reason is None,
        skipped_reason=reason.code if reason else None,
        message=reason.message if reason else None,
    )


def _compute_valid_until(run: CycleContext) -> str:
    schedule = run.request.settings.schedule
    return format_utc(run.started + timedelta(minutes=schedule.interval_minutes + schedule.grace_minutes))


def _read_intake(run: CycleContext) -> tuple[RecentAcknowledgement, ...]:
    entries = read_last_entries(run.request.layout.intake_log, run.request.settings.report.intake_entries)
    return tuple(RecentAcknowledgement(one.at, one.kind, one.path, one.source, one.previous_path) for one in entries)


def _show(path: Path) -> str:
    return printable_path(path)
