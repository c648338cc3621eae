"""`comfywatchman config`: the effective configuration, and the group of the commands that read and change it."""

from __future__ import annotations

from typing import Final

import click

from comfywatchman.app.session import Session
from comfywatchman.base.config import format_value, read_default_text
from comfywatchman.cli.lazy import LazyGroup
from comfywatchman.cli.options import CONTEXT_SETTINGS, json_option
from comfywatchman.cli.render import print_json, print_table

COMMANDS: Final = {
    "get": "comfywatchman.cli.config.read:get",
    "validate": "comfywatchman.cli.config.read:validate",
    "set": "comfywatchman.cli.config.change:set_value",
    "unset": "comfywatchman.cli.config.change:unset",
    "edit": "comfywatchman.cli.config.edit:edit",
}


@click.group(cls=LazyGroup, locations=COMMANDS, context_settings=CONTEXT_SETTINGS, invoke_without_command=True)
@json_option
@click.option("--defaults", is_flag=True, help="Print the documented default configuration.")
@click.pass_context
def config(context: click.Context, as_json: bool, defaults: bool) -> None:
    """Show every configuration key with its effective value and origin, or change keys.

    Secrets are masked.

    \b
    Examples:
      comfywatchman config
      comfywatchman config set schedule.min_vram_gb 8
    """
    if context.invoked_subcommand is not None:
        if as_json or defaults:
            raise click.UsageError(f"Give the options of `config {context.invoked_subcommand}` after its name.")
        return
    session: Session = context.obj
    if defaults:
        click.echo(read_default_text(), nl=False)
        return
    rows = list(session.configuration.rows())
    if as_json:
        print_json(
            home=str(session.home_layout.home.folder),
            keys=[{"key": key, "value": value, "origin": origin} for key, value, origin in rows],
        )
        return
    print_table(("Key", "Value", "From"), [(key, format_value(value), origin) for key, value, origin in rows])
    click.echo(f"Home: {session.home_layout.home.folder}")
