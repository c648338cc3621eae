"""`comfywatchman config get` and `config validate`."""

from __future__ import annotations

from pathlib import Path

import click
import orjson

from comfywatchman.app.config_file import check_text, read_config
from comfywatchman.app.session import Session
from comfywatchman.base.config import SCHEMA
from comfywatchman.base.text import pluralize
from comfywatchman.cli.options import complete_names, json_option
from comfywatchman.cli.render import print_json, printable


@click.command()
@json_option
@click.argument("key", shell_complete=complete_names("configuration key"))
@click.pass_obj
def get(session: Session, key: str, as_json: bool) -> None:
    """Print the effective value of one KEY, for scripts: text as it is, anything else as in JSON.

    \b
    Examples:
      comfywatchman config get comfyui.url
      comfywatchman config get schedule.min_vram_gb --json
    """
    SCHEMA.check_key(key, "the command")
    rows = {name: (value, origin) for name, value, origin in session.configuration.rows()}
    value, origin = rows[key]
    if as_json:
        print_json(key=key, value=value, origin=origin)
    elif isinstance(value, str):
        click.echo(printable(value))
    else:
        click.echo(orjson.dumps(value).decode("utf-8"))


@click.command()
@json_option
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.pass_obj
def validate(session: Session, file: Path | None, as_json: bool) -> None:
    """Check all configuration files and variables, or only FILE.

    Exits with 2 at the first wrong key or value.

    \b
    Examples:
      comfywatchman config validate
      comfywatchman config validate ./config.toml
    """
    if file is not None:
        if not file.exists():
            raise click.BadParameter(f"{file} does not exist.", param_hint="FILE")
        values = check_text(file, read_config(file))
        sources = {str(file): len(values)}
    else:
        sources = {}
        for origin in session.configuration.origins.values():
            if origin.label != "default":
                sources[origin.label] = sources.get(origin.label, 0) + 1
    if as_json:
        print_json(valid=True, sources=[{"origin": label, "keys": count} for label, count in sources.items()])
        return
    for label, count in sources.items():
        click.echo(f"{printable(label)}: {pluralize(count, 'key')}")
    click.echo("The configuration is valid." if sources else "The configuration is valid: every key has its default.")
