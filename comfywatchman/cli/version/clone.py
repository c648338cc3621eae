"""`comfywatchman version clone`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from comfywatchman.cli.options import complete_names, json_option
from comfywatchman.cli.version.common import accept_option, build_network, package_options

if TYPE_CHECKING:
    from comfywatchman.app.session import Session
    from comfywatchman.app.version_clones import CloneOptions
    from comfywatchman.versions.lockfile import VersionLock


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
@accept_option
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
    accept_licences: bool,
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
    from comfywatchman.cli.render import DONE, print_json
    from comfywatchman.cli.version.common import ignore_progress, open_lock, show_progress
    from comfywatchman.versions.clone import check_clonable, clone_version
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
    check_clonable(lock, allow_local=allow_local, with_models=not skip_models)
    _show_plan(context.obj, lock, options, with_models=not skip_models, accept=accept_licences, as_json=as_json)
    tools = build_clone_tools(context.obj, options, progress)
    place = clone_version(lock, target.absolute(), tools, with_models=not skip_models, allow_local=allow_local)
    if as_json:
        print_json(path=str(place.root), comfyui=str(place.comfyui), python=str(place.python), tag=lock.tag)
    else:
        click.echo(f"{printable_path(place.root)} is version {lock.tag}.")
        if lock.python is not None:
            click.echo(f"Start it: cd {printable_path(place.comfyui)} && .venv/bin/python main.py")
    context.exit(DONE)


def _show_plan(
    session: Session, lock: VersionLock, options: CloneOptions, *, with_models: bool, accept: bool, as_json: bool
) -> None:
    """Show licences and sizes before anything is fetched.

    Raises:
        Failure: `version-licence-unaccepted`.
    """
    from comfywatchman.app.version_clones import find_local_models, list_clone_packages
    from comfywatchman.app.version_licences import find_known_licences
    from comfywatchman.base.text import format_size, pluralize
    from comfywatchman.cli.version.common import confirm_licences, describe_packages, show_progress
    from comfywatchman.versions.licences import list_licensed_parts

    models = lock.models if with_models else ()
    local = find_local_models(session) if models else {}
    fetched = [model for model in models if model.sha256 not in local]
    parts = list_licensed_parts(lock.nodes, fetched, find_known_licences(session).get)
    confirm_licences(parts, accept=accept, as_json=as_json)
    if as_json:
        return
    if models:
        size = format_size(sum(model.size for model in models))
        show_progress(f"{pluralize(len(models), 'model')} of {size} in all belong to this version")
    show_progress(describe_packages(list_clone_packages(lock, options)))
