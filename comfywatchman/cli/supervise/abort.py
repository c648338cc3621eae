"""`comfywatchman supervise abort`: give up a switch, and go back to the environment before it."""

from __future__ import annotations

from pathlib import Path

import click

from comfywatchman.app.supervisor_orders import is_supervisor_running, require_supervisor
from comfywatchman.base.errors import Failure
from comfywatchman.cli.options import json_option
from comfywatchman.cli.supervise.common import open_workspace, wait_options, workspace_option
from comfywatchman.cli.supervise.endings import finish
from comfywatchman.cli.supervise.live import show_line
from comfywatchman.cli.supervise.waiting import SUPERVISOR_ENDED, Ending, wait_for_ending
from comfywatchman.supervisor.mailbox import (
    FINAL_SWITCH_STATES,
    CommandName,
    SwitchState,
    read_switch_status,
    write_command,
)


@click.command()
@wait_options
@workspace_option
@json_option
@click.pass_context
def abort(context: click.Context, wait: bool, timeout: float, workspace: Path | None, as_json: bool) -> None:
    """Abort a switch that is under way.

    ComfyUI is started again in the environment before the switch. With --wait, it exits with 1 when the switch had
    been completed, or the way back failed.

    \b
    Examples:
      comfywatchman supervise abort
      comfywatchman supervise abort --json
    """
    session, environments = open_workspace(context, workspace)
    require_supervisor(environments)
    metadata = environments.metadata
    switch = read_switch_status(metadata)
    if switch is None or switch.state in FINAL_SWITCH_STATES:
        raise Failure(
            "supervisor-no-switch",
            "No switch to another environment is under way.",
            hint="Switch back with: comfywatchman supervise switch ENV",
        )
    write_command(metadata, CommandName.ABORT_SWITCH, reason="supervise abort", clock=session.clock)
    ending = None
    if wait:
        with show_line(lambda: "ComfyUI goes back to the environment before the switch.", is_shown=not as_json):
            ending = wait_for_ending(lambda: _look(metadata), timeout_seconds=timeout, clock=session.clock)
    context.exit(finish(session, environments, "abort", ending, as_json=as_json))


def _look(metadata: Path) -> Ending | None:
    if not is_supervisor_running(metadata):
        return SUPERVISOR_ENDED
    switch = read_switch_status(metadata)
    # The status of a successful switch is deleted soon.
    if switch is None:
        return Ending(False, "The switch was completed before it could be aborted.")
    if switch.state not in FINAL_SWITCH_STATES:
        return None
    return Ending(switch.state is SwitchState.ABORTED, switch.message)
