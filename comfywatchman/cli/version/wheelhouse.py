"""`comfywatchman version wheelhouse`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from comfywatchman.cli.options import json_option
from comfywatchman.cli.version.common import accept_option, build_network, package_options

if TYPE_CHECKING:
    from comfywatchman.versions.wheelhouse import Wheelhouse


@click.command("wheelhouse")
@click.argument("version")
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--python", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="The interpreter to use.")
@click.option("--no-code", is_flag=True, help="Leave the repositories of ComfyUI and its nodes out.")
@package_options
@click.option("--allow-local", is_flag=True, help="Allow repositories that are folders of this machine.")
@accept_option
@click.option("--yes", is_flag=True, help="Do not ask before packages are fetched.")
@json_option
@click.pass_context
def wheelhouse(
    context: click.Context,
    version: str,
    target: Path,
    python: Path | None,
    no_code: bool,
    index: str | None,
    find_links: tuple[str, ...],
    offline: bool,
    allow_local: bool,
    accept_licences: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Collect the wheels and repositories of VERSION in the folder TARGET, to clone it without a network.

    Packages without a wheel are built. Models are not included.

    \b
    Examples:
      comfywatchman version wheelhouse 2026-11 /media/usb/2026-11
      comfywatchman version wheelhouse 2026-11 ./house --no-code --yes
    """
    from comfywatchman.app.version_wheelhouses import WheelhouseOptions, build_wheelhouse_tools
    from comfywatchman.cli.render import DONE, print_json
    from comfywatchman.cli.version.common import (
        build_question,
        confirm_licences,
        ignore_progress,
        open_lock,
        require_answer,
        show_progress,
    )
    from comfywatchman.versions.licences import list_licensed_parts
    from comfywatchman.versions.wheelhouse import build_wheelhouse

    require_answer(yes=yes, as_json=as_json)
    lock = open_lock(context.obj, version)
    nodes = () if no_code else lock.nodes
    confirm_licences(list_licensed_parts(nodes, (), lambda _: None), accept=accept_licences, as_json=as_json)
    options = WheelhouseOptions(
        python=python.absolute() if python else None,
        network=build_network(index, find_links, offline=offline),
        allow_local=allow_local,
        with_code=not no_code,
    )
    progress = ignore_progress if as_json else show_progress
    tools = build_wheelhouse_tools(options, confirm=build_question("The version needs", yes=yes), progress=progress)
    house = build_wheelhouse(lock, target.absolute(), tools)
    if as_json:
        files = house.manifest.files
        print_json(path=str(house.folder), files=files, size_bytes=_sum_sizes(house), built=_count_built(house))
    else:
        _print_house(house, lock.tag)
    context.exit(DONE)


def _sum_sizes(house: Wheelhouse) -> int:
    return sum(file.size for file in house.manifest.files)


def _count_built(house: Wheelhouse) -> int:
    return sum(file.is_built for file in house.manifest.files)


def _print_house(house: Wheelhouse, tag: str) -> None:
    from comfywatchman.base.files import printable_path
    from comfywatchman.base.text import format_size, pluralize
    from comfywatchman.cli.render import print_step

    built = _count_built(house)
    more = f", {built} of them built from source" if built else ""
    shown = printable_path(house.folder)
    count = pluralize(len(house.manifest.files), "file")
    click.echo(f"Wrote {shown}: {count} of {format_size(_sum_sizes(house))}{more}.")
    print_step(f"Use it: comfywatchman version clone {tag} FOLDER --wheelhouse {shown}")
