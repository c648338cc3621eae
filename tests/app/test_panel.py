"""The panel in a governed root: installed, registered once, and no finding of the check of unregistered nodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.app.panel import build_panel_target, register_panel
from comfywatchman.app.session import Session
from comfywatchman.app.supervision import GovernedEnvironments
from comfywatchman.base.errors import Failure
from comfywatchman.governance.checks.unregistered_nodes import find_unregistered
from comfywatchman.governance.environments.staging import read_registry
from comfywatchman.supervisor.panel import install
from comfywatchman.supervisor.panel.install import PanelTarget, install_panel
from comfywatchman.supervisor.workspace import ComfygitWorkspace
from tests.governance.contexts import KeptSite, Site

pytestmark = pytest.mark.slow


@pytest.fixture
def site(kept_root: KeptSite, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(install, "ensure_orchestrator_venv", lambda path: path)
    return kept_root.restore()


def environments_of(site: Site) -> GovernedEnvironments:
    session = Session(home_option=site.folder / "home", config_option=None, comfyui_option=site.comfyui)
    return GovernedEnvironments(session, site.layout, session.installation_at(site.comfyui))


def test_installed_panel_is_registered_once(site: Site) -> None:
    environments = environments_of(site)
    custom_nodes = site.comfyui / "custom_nodes"
    custom_nodes.mkdir(exist_ok=True)
    install_panel(PanelTarget(custom_nodes, environments.root, environments.metadata))
    assert find_unregistered(custom_nodes, read_registry(site.layout).plugins) == ("comfywatchman-panel",)
    assert register_panel(environments)
    assert find_unregistered(custom_nodes, read_registry(site.layout).plugins) == ()
    assert not register_panel(environments)
    assert not (site.layout.journal).exists()


def test_panel_starts_a_supervisor_of_the_same_configuration(site: Site) -> None:
    environments = environments_of(site)
    target = build_panel_target(environments.session, environments, site.comfyui / "custom_nodes")
    home = str(site.folder / "home")
    assert target.run_arguments == (
        *("--home", home, "--comfyui", str(site.comfyui)),
        *("supervise", "run", "--workspace", str(site.root)),
    )
    assert target.working_directory == Path(home)
    assert (target.environment_files, target.environment_names) == ("snapshots/*/meta.json", ("production",))


def test_panel_that_is_not_installed_cannot_be_registered(site: Site) -> None:
    with pytest.raises(Failure) as caught:
        register_panel(environments_of(site))
    assert caught.value.code == "gov-node-unknown"


def test_comfygit_workspace_registers_nothing(tmp_path: Path) -> None:
    assert not register_panel(ComfygitWorkspace(tmp_path))
