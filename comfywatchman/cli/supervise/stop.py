"""`comfywatchman supervise stop`: end ComfyUI and its supervisor."""

from __future__ import annotations

from pathlib import Path

import click

from comfywatchman.app.supervisor_orders import is_supervisor_running, require_supervisor
from comfywatchman.base.clock import Clock
from comfywatchman.cli.options import json_option
from comfywatchman.cli.supervise.common import open_workspace, wait_options, workspace_option
from comfywatchman.cli.supervise.endings import finish
from comfywatchman.cli.supervise.live import show_line
from comfywatchman.cli.supervise.queue import WaitSettings, queue_options, settle_queue
from comfywatchman.cli.supervise.waiting import Ending, judge_refusal, wait_for_ending
from comfywatchman.supervisor.mailbox import CommandName, SupervisorCommand, write_command
from comfywatchman.supervisor.status import read_status


@click.command()
@queue_options
@wait_options
@workspace_option
@json_option
@click.pass_context
def stop(
    context: click.Context,
    now: bool,
    wait_queue: bool,
    wait: bool,
    timeout: float,
    workspace: Path | None,
    as_json: bool,
) -> None:
    """Stop ComfyUI and the supervisor.

    Everything that ComfyUI started is stopped too. The command refuses while prompts run or wait, whoever sent them.

    \b
    Examples:
      comfywatchman supervise stop
      comfywatchman supervise stop --json
    """
    session, environments = open_workspace(context, workspace)
    require_supervisor(environments)
    metadata, clock, settings = environments.metadata, session.clock, WaitSettings(timeout, not as_json)
    policy = settle_queue(metadata, clock, CommandName.SHUTDOWN, settings, now=now, wait_queue=wait_queue)
    written = write_command(metadata, CommandName.SHUTDOWN, reason="supervise stop", prompts=policy, clock=clock)
    ending = _wait(metadata, clock, written, settings) if wait else None
    context.exit(finish(session, environments, "stop", ending, as_json=as_json))


def _wait(metadata: Path, clock: Clock, command: SupervisorCommand, settings: WaitSettings) -> Ending:
    def look() -> Ending | None:
        if not is_supervisor_running(metadata):
            return Ending(True, "ComfyUI and its supervisor have ended.")
        return judge_refusal(read_status(metadata, clock), command.timestamp)

    with show_line(lambda: "ComfyUI is being stopped.", is_shown=settings.is_shown):
        return wait_for_ending(look, timeout_seconds=settings.timeout_seconds, clock=clock)
