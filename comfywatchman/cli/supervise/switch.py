"""`comfywatchman supervise switch`: move ComfyUI to another environment, or stay in the present one."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from comfywatchman.app.supervisor_orders import is_supervisor_running, refuse_during_switch, require_supervisor
from comfywatchman.base.clock import Clock
from comfywatchman.cli.options import complete_names, json_option
from comfywatchman.cli.supervise.common import open_workspace, wait_options, workspace_option
from comfywatchman.cli.supervise.endings import finish
from comfywatchman.cli.supervise.live import format_elapsed, show_line
from comfywatchman.cli.supervise.queue import WaitSettings, queue_options, settle_queue
from comfywatchman.cli.supervise.waiting import (
    Ending,
    SwitchOrder,
    is_well,
    judge_refusal,
    judge_switch,
    wait_for_ending,
)
from comfywatchman.supervisor.mailbox import COMMAND, CommandName, SwitchState, read_switch_status, write_command
from comfywatchman.supervisor.status import read_status


@click.command()
@click.argument("name", metavar="ENV", shell_complete=complete_names("environment"))
@queue_options
@wait_options
@workspace_option
@json_option
@click.pass_context
def switch(
    context: click.Context,
    name: str,
    now: bool,
    wait_queue: bool,
    wait: bool,
    timeout: float,
    workspace: Path | None,
    as_json: bool,
) -> None:
    """Switch ComfyUI to the environment ENV.

    It is started there and proved ready; if that fails, ComfyUI goes back to the present environment. In a governed
    root, ENV is `production` or the id of a snapshot (gov snapshot list), which then becomes production. The command
    refuses while prompts run or wait, whoever sent them.

    \b
    Examples:
      comfywatchman supervise switch flux --wait
      comfywatchman supervise switch flux --wait-queue --wait
    """
    session, environments = open_workspace(context, workspace)
    metadata, clock = environments.metadata, session.clock
    require_supervisor(environments)
    environments.get(name)
    refuse_during_switch(metadata)
    published = read_status(metadata, clock)
    if published is not None and published.environment == name and (is_well(published) or _has_arrived(metadata, name)):
        ending: Ending | None = Ending(True, f"ComfyUI already runs in {name!r}.")
        context.exit(finish(session, environments, "switch", ending, as_json=as_json))
    settings = WaitSettings(timeout, not as_json)
    policy = settle_queue(metadata, clock, CommandName.SWITCH, settings, now=now, wait_queue=wait_queue)
    written = write_command(
        metadata, CommandName.SWITCH, reason="supervise switch", target_env=name, prompts=policy, clock=clock
    )
    order = SwitchOrder(name, written.timestamp)
    ending = _wait_for_switch(metadata, clock, order, settings) if wait else None
    context.exit(finish(session, environments, "switch", ending, as_json=as_json))


def _has_arrived(metadata: Path, name: str) -> bool:
    """Return whether a switch to an environment has just succeeded: its state is published a moment later."""
    progress = read_switch_status(metadata)
    return progress is not None and progress.state is SwitchState.COMPLETE and progress.target_env == name


def _wait_for_switch(metadata: Path, clock: Clock, order: SwitchOrder, settings: WaitSettings) -> Ending:
    was_seen = False
    taken_at: datetime | None = None
    began_at = clock.monotonic()

    def look() -> Ending | None:
        nonlocal was_seen, taken_at
        progress = read_switch_status(metadata)
        was_seen = was_seen or (progress is not None and order.is_shown_by(progress))
        if taken_at is None and not (metadata / COMMAND).exists():
            taken_at = clock.now()
        status = read_status(metadata, clock)
        return judge_refusal(status, order.since) or judge_switch(
            progress,
            status,
            order,
            was_seen=was_seen,
            taken_at=taken_at,
            is_running=is_supervisor_running(metadata),
        )

    def read_line() -> str:
        progress = read_switch_status(metadata)
        elapsed = format_elapsed(clock.monotonic() - began_at)
        if progress is None or not order.is_shown_by(progress):
            return f"{elapsed}: ComfyUI is being stopped."
        return f"{elapsed}, {progress.progress} %: {progress.message}"

    with show_line(read_line, is_shown=settings.is_shown):
        return wait_for_ending(look, timeout_seconds=settings.timeout_seconds, clock=clock)
