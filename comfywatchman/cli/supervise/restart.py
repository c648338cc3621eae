"""`comfywatchman supervise restart`: stop ComfyUI and start it again."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from comfywatchman.app.supervisor_orders import is_supervisor_running, refuse_during_switch, require_supervisor
from comfywatchman.base.clock import Clock
from comfywatchman.cli.options import json_option
from comfywatchman.cli.supervise.common import open_workspace, wait_options, workspace_option
from comfywatchman.cli.supervise.endings import finish
from comfywatchman.cli.supervise.live import format_elapsed, show_line
from comfywatchman.cli.supervise.queue import WaitSettings, queue_options, settle_queue
from comfywatchman.cli.supervise.waiting import Ending, judge_refusal, judge_restart, wait_for_ending
from comfywatchman.supervisor.mailbox import COMMAND, CommandName, SupervisorCommand, write_command
from comfywatchman.supervisor.status import SupervisorStatus, read_status


@click.command()
@queue_options
@wait_options
@workspace_option
@json_option
@click.pass_context
def restart(
    context: click.Context,
    now: bool,
    wait_queue: bool,
    wait: bool,
    timeout: float,
    workspace: Path | None,
    as_json: bool,
) -> None:
    """Stop ComfyUI and start it again.

    Its packages are synchronised in between. The command refuses while prompts run or wait, whoever sent them. After
    the supervisor gave up, this begins a new budget of starts.

    \b
    Examples:
      comfywatchman supervise restart --wait
      comfywatchman supervise restart --wait-queue
    """
    session, environments = open_workspace(context, workspace)
    require_supervisor(environments)
    refuse_during_switch(environments.metadata)
    metadata, clock, settings = environments.metadata, session.clock, WaitSettings(timeout, not as_json)
    policy = settle_queue(metadata, clock, CommandName.RESTART, settings, now=now, wait_queue=wait_queue)
    before = read_status(metadata, clock)
    written = write_command(metadata, CommandName.RESTART, reason="supervise restart", prompts=policy, clock=clock)
    ending = _wait(metadata, clock, before, written, settings) if wait else None
    context.exit(finish(session, environments, "restart", ending, as_json=as_json))


def _wait(
    metadata: Path, clock: Clock, before: SupervisorStatus | None, command: SupervisorCommand, settings: WaitSettings
) -> Ending:
    began_at = clock.monotonic()
    taken_at: datetime | None = None

    def look() -> Ending | None:
        nonlocal taken_at
        if taken_at is None and not (metadata / COMMAND).exists():
            taken_at = clock.now()
        status = read_status(metadata, clock)
        return judge_refusal(status, command.timestamp) or judge_restart(
            status,
            old_pid=before.pid if before is not None else None,
            taken_at=taken_at,
            is_running=is_supervisor_running(metadata),
        )

    def read_line() -> str:
        status = read_status(metadata, clock)
        sentence = status.sentence if status is not None else "The supervisor is starting."
        return f"{format_elapsed(clock.monotonic() - began_at)}: {sentence}"

    with show_line(read_line, is_shown=settings.is_shown):
        return wait_for_ending(look, timeout_seconds=settings.timeout_seconds, clock=clock)
