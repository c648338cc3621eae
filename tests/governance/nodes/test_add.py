from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.git import read_head
from comfywatchman.governance.environments import rollback, staging
from comfywatchman.governance.nodes.add import Wish, add, adopt
from comfywatchman.governance.store.records import Plugin
from tests.base.test_git import git
from tests.governance.contexts import KeptSite, Site, made
from tests.governance.packs import changed, repository


@pytest.fixture
def site(kept_root: KeptSite) -> Site:
    return kept_root.restored()


def added(site: Site, target: str | Path, **wish: str) -> Plugin:
    with site.opened() as ground:
        return add(ground, Wish(str(target), allow_local=True, **wish), find_pack=lambda _pack_id: None)


def registered(site: Site) -> dict[str, Plugin]:
    return staging.plugins_of(site.layout).plugins


def test_a_node_is_cloned_and_registered_with_commit_and_tree(site: Site, tmp_path: Path) -> None:
    pack = repository(tmp_path / "My-Pack", "plainlet")
    plugin = added(site, pack)
    assert registered(site) == {"My-Pack": plugin}
    folder = site.comfyui / "custom_nodes" / "My-Pack"
    assert (plugin.id, plugin.git_url, plugin.ref, plugin.path, plugin.group, plugin.managed_deps, plugin.enabled) == (
        *("My-Pack", str(pack), "", str(folder), "node-My-Pack"),
        *((), True),
    )
    assert plugin.commit == git(pack, "rev-parse", "HEAD") == read_head(folder)
    assert plugin.tree
    assert [path.name for path in (site.comfyui / "custom_nodes").iterdir()] == ["My-Pack"]


def test_adding_installs_nothing_and_leaves_declaration_and_lock(site: Site, tmp_path: Path) -> None:
    before = (site.layout.pyproject.read_bytes(), site.layout.lock.read_bytes(), site.layout.production.readlink())
    added(site, repository(tmp_path / "pack", "plainlet", files={"install.py": "raise SystemExit(3)\n"}))
    assert (
        site.layout.pyproject.read_bytes(),
        site.layout.lock.read_bytes(),
        site.layout.production.readlink(),
    ) == before


def test_a_ref_and_an_id_of_ones_own_are_kept(site: Site, tmp_path: Path) -> None:
    pack = repository(tmp_path / "pack")
    git(pack, "tag", "v1")
    changed(pack, {"more.py": ""})
    plugin = added(site, pack, ref="v1", node_id="other")
    assert (plugin.id, plugin.ref, plugin.commit) == ("other", "v1", git(pack, "rev-parse", "v1"))


@pytest.mark.parametrize("ref", ["absent", "-x"])
def test_a_ref_that_is_not_there_leaves_no_folder_and_no_record(site: Site, tmp_path: Path, ref: str) -> None:
    pack = repository(tmp_path / "pack")
    with pytest.raises(Failure):
        added(site, pack, ref=ref)
    assert registered(site) == {}
    assert list((site.comfyui / "custom_nodes").iterdir()) == []
    assert added(site, pack).id == "pack"


def test_a_failed_clone_leaves_the_registry_as_it_was(site: Site, tmp_path: Path) -> None:
    before = site.layout.plugins.read_bytes()
    with pytest.raises(Failure) as caught:
        added(site, tmp_path / "absent")
    assert caught.value.code == "git-failed"
    assert site.layout.plugins.read_bytes() == before
    assert list((site.comfyui / "custom_nodes").iterdir()) == []


@pytest.mark.parametrize("node_id", ["../../escaped", "/abs", "..", ".hidden", "-x", "a/b"])
def test_an_id_cannot_lead_out_of_custom_nodes(site: Site, tmp_path: Path, node_id: str) -> None:
    with pytest.raises(Failure) as caught:
        added(site, repository(tmp_path / "pack"), node_id=node_id)
    assert caught.value.code == "gov-bad-id"
    assert registered(site) == {}


def test_a_folder_of_this_machine_is_cloned_only_where_it_is_allowed(site: Site, tmp_path: Path) -> None:
    with site.opened() as ground, pytest.raises(Failure) as caught:
        add(ground, Wish(str(repository(tmp_path / "pack"))), find_pack=lambda _pack_id: None)
    assert caught.value.code == "gov-bad-url"


@pytest.mark.parametrize("taken", ["pack", "Pack", "pack.disabled"])
def test_a_folder_that_is_there_is_not_touched_and_can_be_adopted(site: Site, tmp_path: Path, taken: str) -> None:
    folder = site.comfyui / "custom_nodes" / taken
    folder.mkdir()
    (folder / "own.py").write_text("own")
    with pytest.raises(Failure) as caught:
        added(site, repository(tmp_path / "pack"))
    assert caught.value.code == "gov-node-there"
    assert "--adopt" in str(caught.value)
    assert registered(site) == {}
    assert (folder / "own.py").read_text() == "own"


def test_a_clone_of_the_same_repository_is_recognised(site: Site, tmp_path: Path) -> None:
    pack = repository(tmp_path / "pack")
    git(tmp_path, "clone", "-q", str(pack), str(site.comfyui / "custom_nodes/pack"))
    with pytest.raises(Failure, match="a clone of the same repository"):
        added(site, pack)


def test_a_registered_node_is_not_registered_twice(site: Site, tmp_path: Path) -> None:
    pack = repository(tmp_path / "pack")
    added(site, pack)
    for node_id in ("pack", "PACK"):
        with pytest.raises(Failure, match="registered already"):
            added(site, pack, node_id=node_id)
    assert added(site, pack, node_id="another").id == "another"


def test_a_folder_is_adopted_as_it_is(site: Site, tmp_path: Path) -> None:
    pack = repository(tmp_path / "pack")
    folder = site.comfyui / "custom_nodes/pack"
    git(tmp_path, "clone", "-q", str(pack), str(folder))
    git(folder, "remote", "set-url", "origin", "https://me:t0ken@github.com/a/pack")
    with site.opened() as ground:
        plugin = adopt(ground, "pack")
    assert registered(site) == {"pack": plugin}
    assert plugin.git_url == "https://github.com/a/pack"
    assert plugin.commit == git(folder, "rev-parse", "HEAD")
    with site.opened() as ground, pytest.raises(Failure, match="registered already"):
        adopt(ground, "pack")


def test_a_folder_without_git_and_a_link_are_adopted(site: Site, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/__init__.py").write_text("")
    (site.comfyui / "custom_nodes/linked").symlink_to(tmp_path / "mine")
    with site.opened() as ground:
        plugin = adopt(ground, "linked")
    assert (plugin.git_url, plugin.commit) == ("", None)
    assert plugin.tree


@pytest.mark.parametrize(("node_id", "code"), [("absent", "gov-node-unknown"), ("../pack", "gov-bad-id")])
def test_only_a_folder_of_custom_nodes_can_be_adopted(site: Site, node_id: str, code: str) -> None:
    with site.opened() as ground, pytest.raises(Failure) as caught:
        adopt(ground, node_id)
    assert caught.value.code == code


def test_a_harmful_pack_is_neither_cloned_nor_adopted(site: Site, tmp_path: Path) -> None:
    pack = repository(tmp_path / "ComfyUI_LLMVISION")
    with pytest.raises(Failure) as caught:
        added(site, pack, node_id="innocent")
    assert caught.value.code == "gov-denied"
    (site.comfyui / "custom_nodes/upscaler-4k").mkdir()
    with site.opened() as ground, pytest.raises(Failure, match="deny list"):
        adopt(ground, "upscaler-4k")
    assert registered(site) == {}


def test_an_id_of_the_registry_is_asked_there(site: Site) -> None:
    asked: list[str] = []
    with site.opened() as ground:
        with pytest.raises(Failure) as caught:
            add(ground, Wish("comfyui-tiny"), find_pack=asked.append)
        assert caught.value.code == "gov-pack-unknown"
        with pytest.raises(Failure) as caught:
            add(ground, Wish("comfyui-tiny"), find_pack=lambda _pack_id: "ext::sh -c id")
        assert caught.value.code == "gov-bad-url"
        with pytest.raises(Failure) as caught:
            add(ground, Wish("comfyui-tiny"), find_pack=lambda _pack_id: "http://127.0.0.1:9/comfyui-tiny")
        assert caught.value.code == "git-failed"
    assert asked == ["comfyui-tiny"]


def test_what_a_killed_clone_left_goes_with_the_next_one(site: Site, tmp_path: Path) -> None:
    left = site.comfyui / "custom_nodes/.other.tmp-4711.disabled"
    left.mkdir()
    added(site, repository(tmp_path / "pack"))
    assert not left.exists()


def test_adding_can_be_undone(site: Site, tmp_path: Path) -> None:
    added(site, repository(tmp_path / "only-here"))
    with site.opened() as ground:
        (operation,) = (one for one in rollback.operations(ground.layout) if one.ref == "only-here")
        assert operation.kind == "node_add"
        rollback.undo(ground, operation.op_id)
    assert registered(site) == {}


def test_a_node_that_cannot_be_registered_leaves_no_folder(site: Site, tmp_path: Path) -> None:
    pack = repository(tmp_path / "pack")
    aside = site.folder / "aside"
    site.layout.snapshots.rename(aside)
    site.layout.snapshots.write_text("in the way")
    try:
        with site.opened() as ground, pytest.raises(Failure) as caught:
            add(ground, Wish(str(pack), allow_local=True), find_pack=lambda _pack_id: None)
    finally:
        site.layout.snapshots.unlink()
        aside.rename(site.layout.snapshots)
    assert caught.value.code == "state-unwritable"
    assert registered(site) == {}
    assert list((site.comfyui / "custom_nodes").iterdir()) == []


def test_a_root_without_an_environment_registers_nothing(tmp_path: Path) -> None:
    site = made(tmp_path / "site")
    site.layout.production.unlink()
    pack = repository(tmp_path / "pack")
    with pytest.raises(Failure) as caught:
        added(site, pack)
    assert caught.value.code == "gov-not-initialised"
    assert list((site.comfyui / "custom_nodes").iterdir()) == []


def test_a_file_in_place_of_custom_nodes_is_said(tmp_path: Path) -> None:
    site = made(tmp_path / "site")
    (site.comfyui / "custom_nodes").rmdir()
    (site.comfyui / "custom_nodes").write_text("in the way")
    with pytest.raises(Failure) as caught:
        added(site, repository(tmp_path / "pack"))
    assert caught.value.code == "state-unwritable"
    assert registered(site) == {}
