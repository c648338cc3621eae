from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import to_json, write_atomic
from comfywatchman.governance.environments import generation, snapshot, staging
from comfywatchman.governance.nodes import registry as node_registry
from comfywatchman.governance.nodes.add import Wish, add, adopt
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.records import Plugins
from tests.base.test_git import git
from tests.governance.changes import promote
from tests.governance.contexts import Site, made
from tests.governance.packs import changed, repository


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """One governed root for all tests here; each has nodes of its own."""
    return made(tmp_path_factory.mktemp("site"))


def node(site: Site, name: str) -> Path:
    """Register a node of this name, and return its folder."""
    with site.opened() as ground:
        wish = Wish(str(repository(site.folder / "repositories" / name)), allow_local=True)
        return ground.custom_nodes / add(ground, wish, find_pack=lambda _pack_id: None).id


def state(site: Site, name: str) -> tuple[str, bool | None]:
    with site.opened() as ground:
        return next((one.code, one.is_dirty) for one in node_registry.listed(ground) if one.plugin.id == name)


def test_a_node_is_listed_with_how_its_code_stands(site: Site) -> None:
    folder = node(site, "listed")
    assert state(site, "listed") == ("as-recorded", False)
    (folder / "extra.py").write_text("")
    assert state(site, "listed") == ("changed", False)
    (folder / "__init__.py").write_text("")
    assert state(site, "listed") == ("changed", True)
    changed(folder, {"__init__.py": "", "extra.py": ""})
    assert state(site, "listed") == ("changed", False)
    folder.rename(site.folder / "elsewhere")
    assert state(site, "listed") == ("gone", None)


def test_what_is_no_repository_is_neither_clean_nor_dirty(site: Site) -> None:
    folder = site.comfyui / "custom_nodes/plain"
    folder.mkdir()
    with site.opened() as ground:
        adopt(ground, "plain")
    assert state(site, "plain") == ("as-recorded", None)


def test_only_folders_of_enabled_nodes_that_are_there_are_started_with(site: Site) -> None:
    names = ("on", "off", "missing")
    there = {name: node(site, name) for name in names}
    registry = staging.plugins_of(site.layout)
    disabled = msgspec.structs.replace(registry.plugins["off"], enabled=False)
    write_atomic(site.layout.plugins, to_json(Plugins(plugins={**registry.plugins, "off": disabled})))
    there["missing"].rename(site.folder / "missing")
    with site.opened() as ground:
        found = node_registry.folders(ground)
    assert found["on"] == there["on"]
    assert not found.keys() & {"off", "missing"}


def test_a_node_that_was_never_promoted_is_removed_without_a_new_lock(site: Site) -> None:
    node(site, "brief")
    before = site.layout.pyproject.read_bytes(), site.layout.lock.stat().st_mtime_ns, generation.current(site.layout)
    with site.opened() as ground:
        node_registry.remove(ground, "brief")
    assert "brief" not in staging.plugins_of(site.layout).plugins
    assert (
        site.layout.pyproject.read_bytes(),
        site.layout.lock.stat().st_mtime_ns,
        generation.current(site.layout),
    ) == before


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["lock", "environment"])
def test_a_removal_that_cannot_be_built_changes_nothing(tmp_path: Path, missing: str) -> None:
    site = made(tmp_path)
    with site.opened() as ground:
        promote(ground, "pack", ["newlet"])
        promote(ground, "other", ["plainlet"])
    truth_before = snapshot.read_truth(site.root, site.layout)
    if missing == "lock":
        site.configure(network={"find_links": [], "cache_dir": str(tmp_path / "empty")})
    else:
        site.configure(tx={"smoke_test_cmd": "exit 3"})
    with site.opened() as ground, pytest.raises(Failure) as caught:
        node_registry.remove(ground, "pack", purge_code=True)
    assert caught.value.code == ("gov-lock-failed" if missing == "lock" else "gov-smoke-failed")
    assert snapshot.read_truth(site.root, site.layout) == truth_before
    assert "node-pack" in truth.groups(site.layout.pyproject.read_text())


def test_a_working_copy_at_another_commit_is_listed_with_it(site: Site) -> None:
    folder = node(site, "moved")
    changed(folder, {"more.py": ""})
    with site.opened() as ground:
        (found,) = (one for one in node_registry.listed(ground) if one.plugin.id == "moved")
    assert found.commit == git(folder, "rev-parse", "HEAD") != found.plugin.commit
