"""`comfywatchman --scheduler`: run cycles regularly until stopped."""

from __future__ import annotations

import click

from comfywatchman.app.cycle_trace import record_outcome
from comfywatchman.app.session import Session, own_command
from comfywatchman.base.config import notify_socket_address, variables_for_children
from comfywatchman.comfyui.install.install import find_installation
from comfywatchman.readiness.scheduler.loop import CycleCommand, SchedulePaths, ScheduleSettings
from comfywatchman.readiness.scheduler.ticker import run_scheduler

SECONDS_PER_MINUTE = 60


def scheduler_command(session: Session) -> int:
    """Run cycles until stopped; return the exit code of the scheduler."""
    schedule, layout = session.settings.schedule, session.home_layout
    click.echo(f"A cycle every {schedule.interval_minutes:g} minutes, the first one now. Stop with Ctrl-C.")
    click.echo(f"Report: {session.layout.status_markdown}")
    return run_scheduler(
        ScheduleSettings(
            interval_seconds=schedule.interval_minutes * SECONDS_PER_MINUTE,
            cycle_deadline_seconds=schedule.cycle_deadline_minutes * SECONDS_PER_MINUTE,
            resume_grace_seconds=schedule.resume_grace_seconds,
        ),
        paths=SchedulePaths(state=layout.scheduler, lock=layout.scheduler_lock, awake=layout.awake),
        clock=session.clock,
        command=lambda trigger: _cycle_command(session, trigger),
        log=session.log,
        record=lambda outcome: record_outcome(session, outcome),
        notify_address=notify_socket_address(),
    )


def _cycle_command(session: Session, trigger: str) -> CycleCommand:
    # Without the option each cycle finds ComfyUI itself, so that a changed configuration takes effect.
    installation = None
    if session.comfyui_option:
        installation = find_installation([("--comfyui", session.comfyui_option)])
    argv = [*own_command(), *session.arguments(installation), "--run-cycle", "--trigger", trigger, "--note"]
    return CycleCommand(argv=argv, environment=variables_for_children())
