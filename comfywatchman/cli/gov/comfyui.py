"""`gov comfyui …`: another version of ComfyUI, with the packages that it requires."""

from __future__ import annotations

import click

from comfywatchman.cli.gov.common import GovCommand, open_gov, print_result
from comfywatchman.cli.gov.package import approve_option, print_outcome
from comfywatchman.cli.options import json_option
from comfywatchman.cli.render import DONE, FAILED, print_step, printable


@click.command(cls=GovCommand)
@click.option("--to", "version", default="", help="Tag, branch or commit; by default the newest release.")
@approve_option
@json_option
@click.pass_context
def update(context: click.Context, version: str, approve_core: bool, as_json: bool) -> None:
    """Move ComfyUI to another version, together with its packages.

    The version is fetched, locked with everything that is installed, and started aside with all nodes. When it starts
    as the present one does, checkout and environment change together; otherwise neither does. Local changes in the
    checkout are never overwritten.

    \b
    Examples:
      gov comfyui update
      gov comfyui update --to v0.3.75
    """
    from comfywatchman.base.config import network_variables
    from comfywatchman.governance.transactions.comfyui_update import update_comfyui

    with open_gov(context.obj, "comfyui update", activity="Updating ComfyUI") as (gov, _show):
        update_result = update_comfyui(gov, version, network=network_variables(), approve_core=approve_core)
    outcome = update_result.outcome
    if as_json:
        print_result(context, update_result)
    elif update_result.is_ahead:
        release = printable(update_result.version)
        click.echo(f"ComfyUI is newer than the newest release ({release}) already.")
        print_step(f"To move back: gov comfyui update --to {release}")
    elif outcome is None:
        click.echo(f"ComfyUI is at {printable(update_result.version)} already.")
    else:
        done = f"ComfyUI is at {update_result.version} ({update_result.after[:12]})."
        print_outcome(outcome, verb="updated", done=done)
    context.exit(FAILED if outcome is not None and outcome.operation is None else DONE)
