"""The environments of a governed root, and which workspace is supervised."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.app.session import Session
from comfywatchman.app.supervision import GovernedEnvironments, environment_files, open_environments
from comfywatchman.base.errors import Failure
from comfywatchman.governance.environments.generation import current_key
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.supervisor.workspace import ComfygitWorkspace
from tests.governance.contexts import KeptSite, Site


@pytest.fixture(autouse=True)
def no_other_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing but the session name a workspace."""
    (tmp_path / "person").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    monkeypatch.delenv("COMFYGIT_HOME", raising=False)
    monkeypatch.delenv("COMFYWATCHMAN_SUPERVISOR__WORKSPACE", raising=False)
    monkeypatch.chdir(tmp_path / "person")


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(home_option=tmp_path / "home", config_option=None)


@pytest.fixture
def site(kept_root: KeptSite) -> Site:
    return kept_root.restore()


def open_site(site: Site) -> GovernedEnvironments:
    session = Session(site.folder / "home", None, comfyui_option=site.comfyui, governed_option=site.root)
    environments = open_environments(session)
    assert isinstance(environments, GovernedEnvironments)
    return environments


def create_workspace(folder: Path) -> Path:
    (folder / "environments").mkdir(parents=True)
    (folder / ".metadata").mkdir()
    return folder


def test_nothing_to_supervise_is_an_error(session: Session) -> None:
    with pytest.raises(Failure) as caught:
        open_environments(session)
    assert caught.value.code == "supervisor-no-workspace"


def test_folder_of_a_declined_adoption_is_not_a_root(session: Session) -> None:
    layout = GovLayout(session.governed_root)
    layout.process_lock.parent.mkdir(parents=True)
    layout.process_lock.touch()
    with pytest.raises(Failure) as caught:
        open_environments(session)
    assert caught.value.code == "supervisor-no-workspace"


def test_workspaces_are_found_in_order(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = create_workspace(tmp_path / "person" / "comfygit")
    assert open_environments(session).root == found
    monkeypatch.setenv("COMFYGIT_HOME", str(create_workspace(tmp_path / "named")))
    assert open_environments(session).root == tmp_path / "named"
    configured = create_workspace(tmp_path / "configured")
    monkeypatch.setenv("COMFYWATCHMAN_SUPERVISOR__WORKSPACE", str(configured))
    environments = open_environments(Session(tmp_path / "home", None))
    assert environments.root == configured
    assert isinstance(environments, ComfygitWorkspace)
    given = create_workspace(tmp_path / "given")
    assert open_environments(session, given).root == given
    assert environment_files(environments) == "environments/*/ComfyUI/main.py"


@pytest.mark.slow
def test_governed_root_has_production_and_its_snapshots(site: Site) -> None:
    environments = open_site(site)
    assert environments.root == site.root
    assert environments.metadata == site.root / ".metadata"
    name, snapshot = environments.names()
    assert (name, environments.current()) == ("production", "production")
    production = environments.get("production")
    assert production.comfyui == site.comfyui
    assert production.python.is_relative_to(site.layout.generations / str(current_key(site.layout)))
    assert environments.get(snapshot).python == production.python
    environments.prepare(snapshot)
    assert list(site.root.glob(environment_files(environments).replace("*", snapshot)))
    with pytest.raises(Failure) as caught:
        environments.get("20200101T000000Z-00000000")
    assert caught.value.code == "supervisor-environment-unknown"


@pytest.mark.slow
def test_governed_root_can_be_named_as_workspace(site: Site, tmp_path: Path) -> None:
    session = Session(tmp_path / "home", None, comfyui_option=site.comfyui)
    environments = open_environments(session, site.root)
    assert isinstance(environments, GovernedEnvironments)
    assert environments.root == site.root


@pytest.mark.slow
def test_activating_a_snapshot_is_a_rollback(site: Site) -> None:
    environments = open_site(site)
    _production, snapshot = environments.names()
    environments.activate("production")
    before = current_key(site.layout)
    environments.activate(snapshot)
    assert current_key(site.layout) == before
    operations = sorted(site.layout.operations.iterdir())
    assert "rollback" in operations[-1].read_text()
