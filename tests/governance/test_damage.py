"""What becomes of a governed root whose files are damaged, or that lies in the wrong place."""

from __future__ import annotations

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.gpu.driver import GpuDriver
from comfywatchman.governance.checks.runner import run_checks
from comfywatchman.governance.environments import generation, init, rollback, snapshot
from comfywatchman.governance.environments.access import open_context, read_context
from comfywatchman.governance.nodes.add import AddRequest, add_node
from tests.governance.contexts import KeptSite, Site
from tests.governance.packs import create_repository


@pytest.fixture
def site(kept_root: KeptSite) -> Site:
    return kept_root.restore()


@pytest.mark.slow
def test_environment_instead_of_the_link_is_set_aside(site: Site) -> None:
    site.layout.production.unlink()
    for number in (1, 2):
        site.layout.production.mkdir()
        (site.layout.production / "mine").touch()
        site.init()
        assert site.layout.production.is_symlink()
        assert (site.root / f".venv-prod.aside-{number}" / "mine").exists()
        site.layout.production.unlink()


@pytest.mark.slow
def test_damaged_lock_is_not_replaced(site: Site) -> None:
    (kept,) = snapshot.read_all(site.layout)
    before = site.layout.uv_lock.read_bytes()
    site.layout.uv_lock.write_bytes(b"")
    with pytest.raises(Failure) as caught:
        site.init()
    assert "gov rollback" in (caught.value.hint or "")
    with site.opened() as context:
        rollback.rollback(context, kept.id)
    assert site.layout.uv_lock.read_bytes() == before


@pytest.mark.parametrize("name", ["work", "logs", "transactions"])
def test_file_instead_of_a_folder_is_reported(site: Site, name: str) -> None:
    folder = site.root / "state" / name
    if folder.is_dir():
        folder.rmdir()
    folder.touch()
    with pytest.raises(Failure) as caught:
        site.init()
    assert caught.value.code == "state-unwritable"


@pytest.mark.slow
def test_last_change_can_be_undone_with_one_kept_snapshot(site: Site) -> None:
    site.configure(rollback={"snapshot_retention": 1})
    with site.opened() as context:
        add_node(
            context,
            AddRequest(str(create_repository(site.folder / "n1")), allow_local=True),
            find_pack=lambda _pack_id: None,
        )
        last = rollback.read_operations(site.layout)[-1]
        rollback.undo(context, last.op_id)
    assert len(snapshot.read_all(site.layout)) == 2


@pytest.mark.parametrize("place", ["", "custom_nodes", "custom_nodes/env"])
def test_root_inside_comfyui_is_refused(site: Site, place: str) -> None:
    opening = open_context(
        site.comfyui / place, comfyui=site.comfyui, command="init", clock=site.clock, network={}, is_new=True
    )
    with pytest.raises(Failure) as caught, opening as context:
        init.init(context)
    assert caught.value.code == "gov-root-misplaced"
    assert {path.name for path in site.comfyui.rglob("*")} == {"custom_nodes", "main.py", "requirements.txt"}


@pytest.mark.slow
def test_root_beside_comfyui_files_is_allowed(site: Site) -> None:
    root = site.comfyui / "env"
    (root / "state").mkdir(parents=True)
    (root / "config.toml").write_bytes(site.layout.config.read_bytes())
    with open_context(root, comfyui=site.comfyui, command="init", clock=site.clock, network={}, is_new=True) as context:
        init.init(context)
        assert generation.current_key(context.layout)


@pytest.mark.parametrize("name", ["bin/python", "pyvenv.cfg"])
@pytest.mark.slow
def test_environment_that_cannot_start_is_rebuilt(site: Site, name: str) -> None:
    key = generation.current_key(site.layout)
    assert key is not None
    (generation.environment_dir(site.layout, key) / name).unlink()
    looked = read_context(site.root, comfyui=site.comfyui, clock=site.clock, network={})
    results = {one.name: one for one in run_checks(looked, driver=GpuDriver(present=False), budget_seconds=60.0)}
    production = results["production"]
    assert (production.status, production.vital, name in production.evidence) == ("fail", True, True)
    site.init()
    assert site.run_in_production("print('starts')") == "starts"


@pytest.mark.parametrize("name", ["journal.json", "snapshots_index.json"])
def test_root_of_a_later_version_is_not_changed(site: Site, name: str) -> None:
    path = site.root / "state" / name
    path.write_bytes(b'{"schema_version": 2, "snapshots": []}')
    (kept,) = (folder.name for folder in site.layout.snapshots.iterdir())
    with pytest.raises(Failure) as caught:
        site.init()
    assert caught.value.code == "state-newer"
    assert path.read_bytes() == b'{"schema_version": 2, "snapshots": []}'
    assert (site.layout.snapshots / kept).is_dir()
