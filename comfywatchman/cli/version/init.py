"""`comfywatchman version init`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from comfywatchman.cli.options import json_option
from comfywatchman.cli.version.common import build_network, package_options

if TYPE_CHECKING:
    from comfywatchman.versions.home import VersionHome
    from comfywatchman.versions.initialization import HomeResult


@click.command("init")
@click.option("--path", type=click.Path(path_type=Path, file_okay=False), help="The folder; also COMFY_HOME.")
@click.option("--repo", help="ComfyUI's repository, instead of the official one.")
@click.option("--ref", default="", help="Branch, tag or commit; default: the default branch.")
@click.option("--venv", type=click.Path(path_type=Path, file_okay=False), help="The Python environment's folder.")
@click.option("--torch", default="auto", show_default=True, help="auto, cpu, cu126 or another CUDA, index, skip.")
@click.option("--with", "further", multiple=True, metavar="PACKAGE", help="A further package. May be repeated.")
@click.option("--python", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="The interpreter to use.")
@click.option("--no-start", is_flag=True, help="Do not start ComfyUI once to prove the installation.")
@click.option("--cpu", "use_cpu", is_flag=True, help="Start ComfyUI without the GPU.")
@package_options
@click.option("--allow-local", is_flag=True, help="Allow a repository that is a folder of this machine.")
@click.option("--yes", is_flag=True, help="Do not ask before packages are fetched.")
@json_option
@click.pass_context
def init(
    context: click.Context,
    path: Path | None,
    repo: str | None,
    ref: str,
    venv: Path | None,
    torch: str,
    further: tuple[str, ...],
    python: Path | None,
    no_start: bool,
    use_cpu: bool,
    index: str | None,
    find_links: tuple[str, ...],
    offline: bool,
    allow_local: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Install ComfyUI in a folder, and make the folders for its versions there.

    Clones ComfyUI, creates a Python environment with its requirements, and starts it once. What is there is kept: after
    an interruption, the same command goes on where it stopped.

    \b
    Examples:
      comfywatchman version init --path ~/comfy --ref v0.3.75
      comfywatchman version init --path /workspace/comfy --torch cu128 --yes
    """
    from comfywatchman.app.version_homes import COMFYUI_REPOSITORY, HomeOptions, build_home_tools
    from comfywatchman.base.config import find_version_home
    from comfywatchman.cli.render import DONE
    from comfywatchman.cli.version.common import build_question, ignore_progress, require_answer, show_progress
    from comfywatchman.versions.home import VersionHome
    from comfywatchman.versions.initialization import HomeRequest, check_home_folder, initialize_home
    from comfywatchman.versions.torch_builds import SKIP, check_torch_builds

    check_torch_builds(torch)
    require_answer(yes=yes, as_json=as_json)
    home = VersionHome(find_version_home(path) or context.obj.home_layout.home.folder)
    check_home_folder(home)
    if not yes:
        _confirm_folder(home)
    environment = venv.absolute() if venv else None
    request = HomeRequest(
        repo=repo or COMFYUI_REPOSITORY, ref=ref, torch=torch, environment=environment, further=further
    )
    options = HomeOptions(
        python=python,
        network=build_network(index, find_links, offline=offline),
        allow_local=allow_local,
        # Without torch, ComfyUI ends at its first import.
        with_start=not no_start and torch != SKIP,
        use_cpu=use_cpu,
    )
    progress = ignore_progress if as_json else show_progress
    tools = build_home_tools(
        home, request, options, confirm=build_question("ComfyUI needs", yes=yes), progress=progress
    )
    _print_result(initialize_home(home, request, tools), as_json=as_json)
    context.exit(DONE)


def _confirm_folder(home: VersionHome) -> None:
    """Ask before a folder becomes a home.

    Raises:
        Failure: `version-unconfirmed`.
    """
    from comfywatchman.base.errors import Failure
    from comfywatchman.base.files import printable_path
    from comfywatchman.versions.home import read_home_marker

    # With a marker, an earlier call was answered.
    if read_home_marker(home).commit:
        return
    folder = printable_path(home.root)
    if not click.confirm(f"Make {folder} a home with ComfyUI?", err=True):
        raise Failure("version-unconfirmed", f"Nothing was written to {folder}.", hint="Name another: --path FOLDER")


def _print_result(result: HomeResult, *, as_json: bool) -> None:
    from comfywatchman.base.files import printable_path
    from comfywatchman.cli.render import print_json

    home, marker = result.home, result.marker
    python = result.environment / "bin" / "python"
    if as_json:
        print_json(
            path=str(home.root),
            comfyui=str(home.comfyui),
            python=str(python),
            commit=marker.commit or None,
            is_started=marker.is_started,
            is_changed=result.is_changed,
        )
        return
    commit = f" at {marker.commit[:12]}" if marker.commit else ""
    state = "is ready" if result.is_changed else "was ready already"
    proof = "; it started" if marker.is_started else "; it was not started"
    click.echo(f"ComfyUI{commit} in {printable_path(home.root)} {state}{proof}.")
    click.echo(f"Start it: cd {printable_path(home.comfyui)} && {printable_path(python)} main.py")
