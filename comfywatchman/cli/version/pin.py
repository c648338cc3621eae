"""`comfywatchman version pin`."""

from __future__ import annotations

from pathlib import Path

import click

from comfywatchman.cli.options import json_option
from comfywatchman.cli.version.common import build_network, package_options


@click.command("pin")
@click.argument("requirements", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--python", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="The interpreter to pin for."
)
@click.option("--output", type=click.Path(path_type=Path), help="The file for the pins; default: standard output.")
@package_options
@json_option
@click.pass_context
def pin(
    context: click.Context,
    requirements: Path,
    python: Path | None,
    output: Path | None,
    index: str | None,
    find_links: tuple[str, ...],
    offline: bool,
    as_json: bool,
) -> None:
    """Resolve a REQUIREMENTS file to exact versions with the hashes of their files.

    Markers and extras are resolved for the interpreter. Lines that cannot be pinned to bytes (editable installations,
    folders of this machine, repositories without a commit) are listed, and the command then exits with 1.

    \b
    Examples:
      comfywatchman version pin ComfyUI/requirements.txt --output pins.txt
      comfywatchman version pin requirements.txt --python /opt/venv/bin/python
    """
    from comfywatchman.app.version_pins import pin_requirements
    from comfywatchman.base.files import printable_path, write_atomic
    from comfywatchman.base.text import pluralize
    from comfywatchman.cli.render import print_json, printable, result_code

    network = build_network(index, find_links, offline=offline)
    pins = pin_requirements(requirements, python, network)
    if output is not None:
        write_atomic(output, pins.text.encode())
    if as_json:
        print_json(pins=pins.text.splitlines(), unpinned=pins.unpinned)
    elif output is None:
        click.echo(pins.text, nl=False)
    else:
        click.echo(f"Wrote {printable_path(output)}: {pluralize(pins.package_count, 'package')}.")
    for line in pins.unpinned:
        click.echo(f"Not pinned to bytes: {printable(line)}", err=True)
    context.exit(result_code(success=not pins.unpinned))
