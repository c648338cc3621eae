"""`comfywatchman supervise status`: whether ComfyUI works, on what evidence, and what to do if not."""

from __future__ import annotations

from pathlib import Path

import click

from comfywatchman.app.supervisor_orders import is_supervisor_running
from comfywatchman.base.clock import parse_utc
from comfywatchman.base.files import printable_path
from comfywatchman.cli.options import json_option
from comfywatchman.cli.render import print_json, print_step, printable, result_code
from comfywatchman.cli.supervise.common import open_workspace, workspace_option
from comfywatchman.cli.supervise.live import format_elapsed
from comfywatchman.cli.supervise.waiting import is_well
from comfywatchman.supervisor.mailbox import read_switch_status
from comfywatchman.supervisor.status import SupervisorStatus, read_status


@click.command()
@workspace_option
@json_option
@click.pass_context
def status(context: click.Context, workspace: Path | None, as_json: bool) -> None:
    """Show whether ComfyUI works, and what to do if not.

    Exits with 1 unless ComfyUI is ready or busy.

    \b
    Examples:
      comfywatchman supervise status
      comfywatchman supervise status --json | jq -r .supervisor.state
    """
    from comfywatchman.supervisor.control import build_status

    session, environments = open_workspace(context, workspace)
    metadata = environments.metadata
    published = read_status(metadata, session.clock)
    ready = is_well(published)
    if as_json:
        print_json(
            ready=ready,
            running=is_supervisor_running(metadata),
            workspace=str(environments.root),
            **build_status(metadata, session.clock),
        )
    elif published is None:
        click.echo(f"No supervisor has run for {printable_path(environments.root)}.")
        print_step("Start one: comfywatchman supervise run")
    else:
        age_seconds = (session.clock.now() - parse_utc(published.since)).total_seconds()
        _print_status(published, environments.root, format_elapsed(age_seconds))
        _print_switch(metadata)
    context.exit(result_code(success=ready))


def _print_status(published: SupervisorStatus, root: Path, age: str) -> None:
    click.echo(printable(published.sentence))
    if published.next_step:
        print_step(published.next_step)
    process, prompts = "not running", "none"
    if published.pid is not None:
        process = f"{published.pid}, port {published.port}"
        prompts = "unknown" if published.queue_length is None else str(published.queue_length)
    rows = [
        ("State", f"{published.state.value} since {published.since} ({age})"),
        ("Environment", published.environment or "none"),
        ("Workspace", printable_path(root)),
        ("Proved at", published.proven_at or "not yet"),
        ("ComfyUI", process),
        ("Prompts", prompts),
        ("Starts", f"{published.starts_in_window} of at most {published.max_starts}"),
        ("Arguments", "without the configured ones" if published.without_extra_arguments else "as configured"),
        ("Last incident", published.last_incident or "none"),
    ]
    if published.waiting_command is not None:
        rows.append(("Waiting", f"{published.waiting_command.value}, until no prompt runs or waits"))
    if published.refused is not None:
        rows.append(("Refused", f"{published.refused.sentence} ({published.refused.at})"))
    for name, text in rows:
        click.echo(f"{name + ':':<15}{printable(text)}")


def _print_switch(metadata: Path) -> None:
    switch = read_switch_status(metadata)
    if switch is not None:
        click.echo(f"{'Switch:':<15}{switch.state.value}, {switch.progress} %: {printable(switch.message)}")
