"""`comfywatchman config`."""

from __future__ import annotations

import click

from comfywatchman.base.config import read_default_text
from comfywatchman.cli.render import print_json, print_table
from comfywatchman.cli.session import Session


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print facts as JSON.")
@click.option("--defaults", is_flag=True, help="Print the documented default configuration instead.")
@click.pass_obj
def config(session: Session, as_json: bool, defaults: bool) -> None:
    """Show every configuration key, its effective value and where it came from; secrets are masked."""
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
    return str(value) if value != "" else "(empty)"


def _format_item(item: object) -> str:
    return f"{item['label']}={item['path']}" if isinstance(item, dict) else str(item)
