"""`comfywatchman config`."""

from __future__ import annotations

import click

from comfywatchman.app.session import Session
from comfywatchman.base.config import read_default_text
from comfywatchman.cli.options import json_option
from comfywatchman.cli.render import print_json, print_table


@click.command()
@json_option
@click.option("--defaults", is_flag=True, help="Print the documented default configuration.")
@click.pass_obj
def config(session: Session, as_json: bool, defaults: bool) -> None:
    """Show every configuration key with its effective value and origin; secrets are masked."""
    if defaults:
        click.echo(read_default_text(), nl=False)
        return
    rows = list(session.configuration.rows())
    if as_json:
        print_json(
            home=str(session.layout.home.folder),
            keys=[{"key": key, "value": value, "origin": origin} for key, value, origin in rows],
        )
        return
    print_table(("Key", "Value", "From"), [(key, _format_value(value), origin) for key, value, origin in rows])
    click.echo(f"Home: {session.layout.home.folder}")


def _format_value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return ", ".join(_format_item(item) for item in value) or "(none)"
    return str(value) or "(empty)"


def _format_item(item: object) -> str:
    # A workflow root
    if isinstance(item, dict):
        return f"{item['label']}={item['path']}"
    return str(item)
