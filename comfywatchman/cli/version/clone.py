"""`comfywatchman version clone`."""

from __future__ import annotations

from pathlib import Path

import click

from comfywatchman.cli.options import complete_names, json_option
from comfywatchman.cli.version.common import build_network, package_options


@click.command("clone")
@click.argument("version", shell_complete=complete_names("version"))
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--python", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="The interpreter to use.")
@click.option("--skip-models", is_flag=True, help="Leave the models out.")
@click.option("--no-start", is_flag=True, help="Do not start ComfyUI once to prove the clone.")
@click.option("--cpu", "use_cpu", is_flag=True, help="Start ComfyUI without the GPU.")
@package_options
@click.option(
    "--wheelhouse",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Take packages and repositories from the folder that `version wheelhouse` made, and nothing from the network.",
)
@click.option("--allow-local", is_flag=True, help="Allow repositories that are folders of this machine.")
@json_option
@click.pass_context
def clone(
    context: click.Context,
    version: str,
    target: Path,
    python: Path | None,
    skip_models: bool,
    no_start: bool,
    use_cpu: bool,
    index: str | None,
    find_links: tuple[str, ...],
    offline: bool,
    wheelhouse: Path | None,
    allow_local: bool,
    as_json: bool,
) -> None:
    """Build VERSION anew in the folder TARGET, from its lock alone.

    ComfyUI and its nodes are cloned at their commits, the packages installed with their hashes, and the models linked
    from this host or downloaded. The folder gets its name when everything is as the lock says and ComfyUI has started.
    After an interruption, the same command goes on where it stopped.

    \b
    Examples:
      comfywatchman version clone 2026-11 ~/comfyui-2026-11
      comfywatchman version clone 2026-11 /srv/test --skip-models --cpu
    """
    from comfywatchman.app.version_clones import CloneOptions, build_clone_tools
    from comfywatchman.base.files import printable_path
    from comfywatchman.base.text import format_size, pluralize
    from comfywatchman.cli.render import DONE, print_json
    from comfywatchman.cli.version.common import ignore_progress, open_lock, show_progress
    from comfywatchman.versions.clone import clone_version
    from comfywatchman.versions.wheelhouse import open_wheelhouse

    lock = open_lock(context.obj, version)
    progress = ignore_progress if as_json else show_progress
    network = build_network(index, find_links, offline=offline)
    options = CloneOptions(
        python=python.absolute() if python else None,
        network=network,
        allow_local=allow_local,
        with_start=not no_start,
        use_cpu=use_cpu,
        wheelhouse=open_wheelhouse(wheelhouse.absolute(), lock) if wheelhouse else None,
    )
    if lock.models and not skip_models:
        size = sum(model.size for model in lock.models)
        progress(f"{pluralize(len(lock.models), 'model')} of {format_size(size)} in all belong to this version")
    tools = build_clone_tools(context.obj, options, progress)
    place = clone_version(lock, target.absolute(), tools, with_models=not skip_models, allow_local=allow_local)
    if as_json:
        print_json(path=str(place.root), comfyui=str(place.comfyui), python=str(place.python), tag=lock.tag)
    else:
        click.echo(f"{printable_path(place.root)} is version {lock.tag}.")
        if lock.python is not None:
            click.echo(f"Start it: cd {printable_path(place.comfyui)} && .venv/bin/python main.py")
    context.exit(DONE)
