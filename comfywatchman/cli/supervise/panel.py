"""`comfywatchman supervise install-panel`: a button in ComfyUI for restarts and switches."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from comfywatchman.app.panel import build_panel_target, register_panel
from comfywatchman.app.session import Session
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path
from comfywatchman.cli.options import complete_names, json_option
from comfywatchman.cli.render import print_failure, print_json, print_step, result_code
from comfywatchman.cli.supervise.common import open_workspace, workspace_option

if TYPE_CHECKING:
    from comfywatchman.supervisor.panel.install import PanelTarget
    from comfywatchman.supervisor.workspace import EnvironmentSet


@click.command("install-panel")
@click.argument("names", metavar="[ENV]...", nargs=-1, shell_complete=complete_names("environment"))
@workspace_option
@json_option
@click.pass_context
def install_panel_command(
    context: click.Context, names: tuple[str, ...], workspace: Path | None, as_json: bool
) -> None:
    """Install or update the panel in ComfyUI.

    It shows the state in the browser, restarts ComfyUI and switches environments. It is a custom node pack without
    nodes, and nothing is installed into ComfyUI's Python environment. Without ENV, it is installed in every
    environment. A running ComfyUI loads it at its next start.

    \b
    Examples:
      comfywatchman supervise install-panel
      comfywatchman supervise install-panel production
    """
    from comfywatchman.supervisor.panel.install import install_panel

    session, environments = open_workspace(context, workspace)
    targets, failures = _find_targets(session, environments, names)
    installed = [install_panel(target) for target in targets]
    if installed:
        register_panel(environments)
    for failure in failures:
        print_failure(failure)
    if as_json:
        print_json(
            installed=[str(pack) for pack in installed],
            failed=[{"code": failure.code, "message": failure.message} for failure in failures],
        )
    else:
        for pack in installed:
            click.echo(f"Installed: {printable_path(pack)}")
        print_step("A running ComfyUI loads it at its next start: comfywatchman supervise restart")
    context.exit(result_code(success=bool(installed) and not failures))


def _find_targets(
    session: Session, environments: EnvironmentSet, names: tuple[str, ...]
) -> tuple[tuple[PanelTarget, ...], tuple[Failure, ...]]:
    """Return where to install the panel, one place per ComfyUI, and why environments that exist have none.

    Raises:
        Failure: `supervisor-environment-unknown` for a name that was given.
    """
    targets: dict[Path, PanelTarget] = {}
    failures: list[Failure] = []
    for name in names or environments.names():
        try:
            custom_nodes = environments.get(name).comfyui / "custom_nodes"
        except Failure as failure:
            if names:
                raise
            failures.append(failure)
            continue
        # The snapshots of a governed root share one ComfyUI.
        targets[custom_nodes] = build_panel_target(session, environments, custom_nodes)
    return tuple(targets.values()), tuple(failures)
