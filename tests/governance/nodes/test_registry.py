from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import to_json, write_atomic
from comfywatchman.governance.environments import generation, snapshot, staging
from comfywatchman.governance.nodes import registry as node_registry
from comfywatchman.governance.nodes.add import AddRequest, add_node, adopt_node
from comfywatchman.governance.nodes.registry import NodeListing
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.records import NodeRegistry
from tests.base.test_git import git
from tests.governance.changes import promote
from tests.governance.contexts import Site, build_site
from tests.governance.packs import commit_files, create_repository

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """One governed root for all tests here; each has nodes of its own."""
    return build_site(tmp_path_factory.mktemp("site"))


def node(site: Site, name: str) -> Path:
    """Register a node of this name, and return its folder."""
    with site.opened() as context:
        wish = AddRequest(str(create_repository(site.folder / "repositories" / name)), allow_local=True)
        return context.custom_nodes / add_node(context, wish, find_pack=lambda _pack_id: None).id


def state(site: Site, name: str) -> tuple[str, bool | None]:
    return next((node.code, node.is_dirty) for node in list_nodes(site) if node.plugin.id == name)


def list_nodes(site: Site) -> tuple[NodeListing, ...]:
    return node_registry.list_nodes(site.layout, site.comfyui / "custom_nodes")


def test_list_reports_the_code_state_of_a_node(site: Site) -> None:
    folder = node(site, "listed")
    assert state(site, "listed") == ("as-recorded", False)
    (folder / "extra.py").write_text("")
    assert state(site, "listed") == ("changed", False)
    (folder / "__init__.py").write_text("")
    assert state(site, "listed") == ("changed", True)
    commit_files(folder, {"__init__.py": "", "extra.py": ""})
    assert state(site, "listed") == ("changed", False)
    folder.rename(site.folder / "elsewhere")
    assert state(site, "listed") == ("gone", None)


def test_folder_without_git_is_neither_clean_nor_dirty(site: Site) -> None:
    folder = site.comfyui / "custom_nodes/plain"
    folder.mkdir()
    with site.opened() as context:
        adopt_node(context, "plain")
    assert state(site, "plain") == ("as-recorded", None)


def test_enabled_folders_leave_out_disabled_and_missing_nodes(site: Site) -> None:
    names = ("on", "off", "missing")
    there = {name: node(site, name) for name in names}
    registry = staging.read_registry(site.layout)
    disabled = msgspec.structs.replace(registry.plugins["off"], enabled=False)
    write_atomic(site.layout.plugins, to_json(NodeRegistry(plugins={**registry.plugins, "off": disabled})))
    there["missing"].rename(site.folder / "missing")
    found = node_registry.find_enabled_folders(site.layout, site.comfyui / "custom_nodes")
    assert found["on"] == there["on"]
    assert not found.keys() & {"off", "missing"}


def test_removing_an_unpromoted_node_keeps_the_lock(site: Site) -> None:
    node(site, "brief")
    before = (
        site.layout.pyproject.read_bytes(),
        site.layout.uv_lock.stat().st_mtime_ns,
        generation.current_key(site.layout),
    )
    with site.opened() as context:
        node_registry.unregister(context, "brief")
    assert "brief" not in staging.read_registry(site.layout).plugins
    assert (
        site.layout.pyproject.read_bytes(),
        site.layout.uv_lock.stat().st_mtime_ns,
        generation.current_key(site.layout),
    ) == before


@pytest.mark.parametrize("purge_code", [False, True])
def test_removal_is_recorded_and_deletes_code_only_on_request(site: Site, *, purge_code: bool) -> None:
    name = f"goes-{purge_code}"
    folder = node(site, name)
    before = snapshot.hash_contents(snapshot.read_root_files(site.layout))
    with site.opened() as context:
        operation = node_registry.unregister(context, name, purge_code=purge_code)
    assert folder.exists() is not purge_code
    assert operation.note == f"{name} was removed{' with its code' if purge_code else ''}"
    assert (operation.kind, operation.ref) == ("remove", name)
    assert operation.ended_at is not None
    assert operation.started_at <= operation.ended_at
    pre = snapshot.read(site.layout, operation.pre_snapshot or "")
    assert (pre.reason, pre.ref, pre.sha256) == ("remove_pre", name, before)


@pytest.mark.parametrize("missing", ["lock", "environment"])
def test_failed_removal_changes_nothing(tmp_path: Path, missing: str) -> None:
    site = build_site(tmp_path)
    with site.opened() as context:
        promote(context, "pack", ["newlet"])
        promote(context, "other", ["plainlet"])
    truth_before = snapshot.read_root_files(site.layout)
    if missing == "lock":
        site.configure(network={"find_links": [], "cache_dir": str(tmp_path / "empty")})
    else:
        site.configure(tx={"smoke_test_cmd": "exit 3"})
    with site.opened() as context, pytest.raises(Failure) as caught:
        node_registry.unregister(context, "pack", purge_code=True)
    assert caught.value.code == ("gov-lock-failed" if missing == "lock" else "gov-smoke-failed")
    assert snapshot.read_root_files(site.layout) == truth_before
    assert "node-pack" in truth.parse_groups(site.layout.pyproject.read_text())


def test_list_reports_another_commit(site: Site) -> None:
    folder = node(site, "moved")
    commit_files(folder, {"more.py": ""})
    (found,) = (node for node in list_nodes(site) if node.plugin.id == "moved")
    assert found.commit == git(folder, "rev-parse", "HEAD") != found.plugin.commit
