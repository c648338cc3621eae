from __future__ import annotations

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.governance.environments import staging
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.records import NodeRegistry, RegisteredNode
from tests.governance.contexts import KeptSite, Site


@pytest.fixture
def site(kept_root: KeptSite) -> Site:
    return kept_root.restore()


def test_edits_stay_in_the_copy(site: Site) -> None:
    before = site.layout.pyproject.read_bytes()
    plugin = RegisteredNode(id="a", git_url="", ref="", path="", group="node-a")
    with site.opened() as context, staging.open_staging(context.layout) as work:
        assert work.folder.parent == site.layout.work
        work.edit_project(lambda text: truth.set_group(text, "node-a", ["plainlet"]))
        work.write_registry(NodeRegistry(plugins={"a": plugin}))
        assert work.read_registry().plugins == {"a": plugin}
        assert work.lock(context.uv, context.python).is_success
        assert set(work.hashes()) == {"pyproject.toml", "uv.lock", "plugins.json"}
    assert site.layout.pyproject.read_bytes() == before
    assert list(site.layout.work.iterdir()) == []


@pytest.mark.slow
def test_pins_are_locked_and_leave_no_trace(site: Site) -> None:
    with site.opened() as context, staging.open_staging(context.layout) as work:
        work.edit_project(lambda text: truth.set_group(text, "node-a", ["deeplet"]))
        text = work.read_project()
        assert work.lock(context.uv, context.python, pins=["numlet==1.0"]).is_success
        assert work.read_project() == text
        lock = (work.folder / "uv.lock").read_text()
        assert "constraint" not in lock
        assert 'name = "numlet"\nversion = "1.0"' in lock
        assert context.uv.check_lock(work.folder, python=context.python).is_success


def test_impossible_pins_restore_the_text(site: Site) -> None:
    with site.opened() as context, staging.open_staging(context.layout) as work:
        work.edit_project(lambda text: truth.set_group(text, "node-a", ["oldlet"]))
        text = work.read_project()
        assert "No solution" in work.lock(context.uv, context.python, pins=["numlet==2.0"]).errors
        assert work.read_project() == text


@pytest.mark.slow
def test_removed_group_restores_the_bytes_of_the_lock(site: Site) -> None:
    with site.opened() as context, staging.open_staging(context.layout) as work:
        before = work.contents()
        work.edit_project(lambda text: truth.set_group(text, "node-a", ["deeplet", "oldlet"]))
        assert work.lock(context.uv, context.python).is_success
        assert work.contents()["uv.lock"] != before["uv.lock"]
        work.edit_project(lambda text: truth.remove_group(text, "node-a"))
        assert work.lock(context.uv, context.python).is_success
        assert work.contents() == before


def test_unreadable_registry_is_reported(site: Site) -> None:
    site.layout.plugins.write_text("{")
    with pytest.raises(Failure, match=r"plugins\.json") as caught:
        staging.read_registry(site.layout)
    assert caught.value.code == "gov-truth-damaged"


def test_missing_project_is_reported(site: Site) -> None:
    with site.opened() as context, staging.open_staging(context.layout, contents={}) as work:
        assert work.read_registry() == NodeRegistry()
        with pytest.raises(Failure) as caught:
            work.read_project()
    assert caught.value.code == "gov-truth-damaged"


@pytest.mark.slow
def test_full_disk_is_reported(site: Site) -> None:
    with site.opened() as context:
        site.layout.work.rmdir()
        site.layout.work.write_text("a file, where a folder should be")
        with pytest.raises(Failure) as caught, staging.open_staging(context.layout):
            pass
        site.layout.work.unlink()
    assert caught.value.code == "state-unwritable"
