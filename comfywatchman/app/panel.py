"""What the panel needs to start a supervisor, and its registration as a node of a governed root."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from comfywatchman.app.session import Session
from comfywatchman.app.supervision import PRODUCTION, GovernedEnvironments, environment_files

if TYPE_CHECKING:
    from comfywatchman.supervisor.panel.install import PanelTarget
    from comfywatchman.supervisor.workspace import EnvironmentSet


def build_panel_target(session: Session, environments: EnvironmentSet, custom_nodes: Path) -> PanelTarget:
    """Return where the panel goes, and how it starts a supervisor with the configuration of this call."""
    from comfywatchman.supervisor.panel.install import PanelTarget
    from comfywatchman.supervisor.spawn import RUN_ARGUMENTS

    installation = None
    names: tuple[str, ...] = ()
    if isinstance(environments, GovernedEnvironments):
        installation, names = environments.installation, (PRODUCTION,)
    return PanelTarget(
        custom_nodes,
        environments.root,
        environments.metadata,
        environment_files(environments),
        environment_names=names,
        working_directory=session.home_layout.home.folder,
        run_arguments=(*session.arguments(installation), *RUN_ARGUMENTS, "--workspace", str(environments.root)),
    )


def register_panel(environments: EnvironmentSet) -> bool:
    """Register the installed panel in a governed root; return whether it was registered now.

    A comfygit workspace registers nothing, and neither does a root that knows the panel already.

    Raises:
        Failure: As `governance.environments.access.open_context` and `governance.nodes.add.adopt_node`.
    """
    if not isinstance(environments, GovernedEnvironments):
        return False
    from comfywatchman.base.config import network_variables
    from comfywatchman.governance.environments import staging
    from comfywatchman.governance.environments.access import open_context
    from comfywatchman.governance.nodes.add import adopt_node
    from comfywatchman.supervisor.panel.install import PACK_NAME

    if PACK_NAME in staging.read_registry(environments.layout).plugins:
        return False
    session = environments.session
    with open_context(
        environments.root,
        comfyui=session.find_comfyui_folder(),
        command="supervise install-panel",
        clock=session.clock,
        network=network_variables(),
    ) as context:
        adopt_node(context, PACK_NAME)
    return True
