from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.git import read_head
from comfywatchman.governance.environments import rollback, staging
from comfywatchman.governance.nodes.add import AddRequest, add_node, adopt_node, adopt_nodes, find_unregistered_nodes
from comfywatchman.governance.store.records import RegisteredNode
from tests.base.test_git import git
from tests.governance.contexts import KeptSite, Site, build_site
from tests.governance.packs import commit_files, create_repository


@pytest.fixture
def site(kept_root: KeptSite) -> Site:
    return kept_root.restore()


def add_target(site: Site, target: str | Path, **wish: str) -> RegisteredNode:
    with site.opened() as context:
        return add_node(context, AddRequest(str(target), allow_local=True, **wish), find_pack=lambda _pack_id: None)


def read_registered(site: Site) -> dict[str, RegisteredNode]:
    return staging.read_registry(site.layout).plugins


@pytest.mark.slow
def test_add_clones_and_registers_a_node(site: Site, tmp_path: Path) -> None:
    pack = create_repository(tmp_path / "My-Pack", "plainlet")
    plugin = add_target(site, pack)
    assert read_registered(site) == {"My-Pack": plugin}
    folder = site.comfyui / "custom_nodes" / "My-Pack"
    assert (plugin.id, plugin.git_url, plugin.ref, plugin.path, plugin.group, plugin.managed_deps, plugin.enabled) == (
        *("My-Pack", str(pack), "", str(folder), "node-My-Pack"),
        *((), True),
    )
    assert plugin.commit == git(pack, "rev-parse", "HEAD") == read_head(folder)
    assert plugin.tree
    assert [path.name for path in (site.comfyui / "custom_nodes").iterdir()] == ["My-Pack"]


@pytest.mark.slow
def test_add_changes_neither_pyproject_nor_lock(site: Site, tmp_path: Path) -> None:
    before = (site.layout.pyproject.read_bytes(), site.layout.uv_lock.read_bytes(), site.layout.production.readlink())
    add_target(site, create_repository(tmp_path / "pack", "plainlet", files={"install.py": "raise SystemExit(3)\n"}))
    assert (
        site.layout.pyproject.read_bytes(),
        site.layout.uv_lock.read_bytes(),
        site.layout.production.readlink(),
    ) == before


@pytest.mark.slow
def test_explicit_ref_and_id_are_used(site: Site, tmp_path: Path) -> None:
    pack = create_repository(tmp_path / "pack")
    git(pack, "tag", "v1")
    commit_files(pack, {"more.py": ""})
    plugin = add_target(site, pack, ref="v1", node_id="other")
    assert (plugin.id, plugin.ref, plugin.commit) == ("other", "v1", git(pack, "rev-parse", "v1"))


@pytest.mark.parametrize("ref", ["absent", "-x"])
@pytest.mark.slow
def test_unknown_ref_leaves_no_folder_and_no_record(site: Site, tmp_path: Path, ref: str) -> None:
    pack = create_repository(tmp_path / "pack")
    with pytest.raises(Failure):
        add_target(site, pack, ref=ref)
    assert read_registered(site) == {}
    assert list((site.comfyui / "custom_nodes").iterdir()) == []
    assert add_target(site, pack).id == "pack"


@pytest.mark.slow
def test_failed_clone_leaves_the_registry_unchanged(site: Site, tmp_path: Path) -> None:
    before = site.layout.plugins.read_bytes()
    with pytest.raises(Failure) as caught:
        add_target(site, tmp_path / "absent")
    assert caught.value.code == "git-failed"
    assert site.layout.plugins.read_bytes() == before
    assert list((site.comfyui / "custom_nodes").iterdir()) == []


@pytest.mark.parametrize("node_id", ["../../escaped", "/abs", "..", ".hidden", "-x", "a/b"])
@pytest.mark.slow
def test_id_cannot_escape_custom_nodes(site: Site, tmp_path: Path, node_id: str) -> None:
    with pytest.raises(Failure) as caught:
        add_target(site, create_repository(tmp_path / "pack"), node_id=node_id)
    assert caught.value.code == "gov-bad-id"
    assert read_registered(site) == {}


@pytest.mark.slow
def test_local_folder_is_cloned_only_with_permission(site: Site, tmp_path: Path) -> None:
    with site.opened() as context, pytest.raises(Failure) as caught:
        add_node(context, AddRequest(str(create_repository(tmp_path / "pack"))), find_pack=lambda _pack_id: None)
    assert caught.value.code == "gov-bad-url"


@pytest.mark.parametrize("taken", ["pack", "Pack", "pack.disabled"])
def test_existing_folder_is_kept_and_can_be_adopted(site: Site, tmp_path: Path, taken: str) -> None:
    folder = site.comfyui / "custom_nodes" / taken
    folder.mkdir()
    (folder / "own.py").write_text("own")
    with pytest.raises(Failure) as caught:
        add_target(site, create_repository(tmp_path / "pack"))
    assert caught.value.code == "gov-node-there"
    assert "--adopt" in str(caught.value)
    assert read_registered(site) == {}
    assert (folder / "own.py").read_text() == "own"


@pytest.mark.slow
def test_clone_of_the_same_repository_is_recognized(site: Site, tmp_path: Path) -> None:
    pack = create_repository(tmp_path / "pack")
    git(tmp_path, "clone", "-q", str(pack), str(site.comfyui / "custom_nodes/pack"))
    with pytest.raises(Failure, match="a clone of the same repository"):
        add_target(site, pack)


@pytest.mark.slow
def test_registered_node_cannot_be_added_again(site: Site, tmp_path: Path) -> None:
    pack = create_repository(tmp_path / "pack")
    add_target(site, pack)
    for node_id in ("pack", "PACK"):
        with pytest.raises(Failure, match="already registered"):
            add_target(site, pack, node_id=node_id)
    assert add_target(site, pack, node_id="another").id == "another"


@pytest.mark.slow
def test_adopt_registers_a_folder_unchanged(site: Site, tmp_path: Path) -> None:
    pack = create_repository(tmp_path / "pack")
    folder = site.comfyui / "custom_nodes/pack"
    git(tmp_path, "clone", "-q", str(pack), str(folder))
    git(folder, "remote", "set-url", "origin", "https://me:t0ken@github.com/a/pack")
    with site.opened() as context:
        plugin = adopt_node(context, "pack")
    assert read_registered(site) == {"pack": plugin}
    assert plugin.git_url == "https://github.com/a/pack"
    assert plugin.commit == git(folder, "rev-parse", "HEAD")
    with site.opened() as context, pytest.raises(Failure, match="already registered"):
        adopt_node(context, "pack")


@pytest.mark.slow
def test_adopt_accepts_folders_without_git_and_links(site: Site, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/__init__.py").write_text("")
    (site.comfyui / "custom_nodes/linked").symlink_to(tmp_path / "mine")
    with site.opened() as context:
        plugin = adopt_node(context, "linked")
    assert (plugin.git_url, plugin.commit) == ("", None)
    assert plugin.tree


@pytest.mark.parametrize(("node_id", "code"), [("absent", "gov-node-unknown"), ("../pack", "gov-bad-id")])
def test_adopt_refuses_folders_outside_custom_nodes(site: Site, node_id: str, code: str) -> None:
    with site.opened() as context, pytest.raises(Failure) as caught:
        adopt_node(context, node_id)
    assert caught.value.code == code


@pytest.mark.slow
def test_denied_pack_is_neither_cloned_nor_adopted(site: Site, tmp_path: Path) -> None:
    pack = create_repository(tmp_path / "ComfyUI_LLMVISION")
    with pytest.raises(Failure) as caught:
        add_target(site, pack, node_id="innocent")
    assert caught.value.code == "gov-denied"
    (site.comfyui / "custom_nodes/upscaler-4k").mkdir()
    with site.opened() as context, pytest.raises(Failure, match="deny list"):
        adopt_node(context, "upscaler-4k")
    assert read_registered(site) == {}


@pytest.mark.slow
def test_registry_id_is_resolved_through_the_registry(site: Site) -> None:
    asked: list[str] = []
    with site.opened() as context:
        with pytest.raises(Failure) as caught:
            add_node(context, AddRequest("comfyui-tiny"), find_pack=asked.append)
        assert caught.value.code == "gov-pack-unknown"
        with pytest.raises(Failure) as caught:
            add_node(context, AddRequest("comfyui-tiny"), find_pack=lambda _pack_id: "ext::sh -c id")
        assert caught.value.code == "gov-bad-url"
        with pytest.raises(Failure) as caught:
            add_node(context, AddRequest("comfyui-tiny"), find_pack=lambda _pack_id: "http://127.0.0.1:9/comfyui-tiny")
        assert caught.value.code == "git-failed"
    assert asked == ["comfyui-tiny"]


@pytest.mark.slow
def test_add_prunes_unfinished_clones(site: Site, tmp_path: Path) -> None:
    left = site.comfyui / "custom_nodes/.other.tmp-4711.disabled"
    left.mkdir()
    add_target(site, create_repository(tmp_path / "pack"))
    assert not left.exists()


@pytest.mark.slow
def test_add_can_be_undone(site: Site, tmp_path: Path) -> None:
    add_target(site, create_repository(tmp_path / "only-here"))
    with site.opened() as context:
        (operation,) = (one for one in rollback.read_operations(context.layout) if one.ref == "only-here")
        assert operation.kind == "node_add"
        rollback.undo(context, operation.op_id)
    assert read_registered(site) == {}


@pytest.mark.slow
def test_failed_registration_leaves_no_folder(site: Site, tmp_path: Path) -> None:
    pack = create_repository(tmp_path / "pack")
    aside = site.folder / "aside"
    site.layout.snapshots.rename(aside)
    site.layout.snapshots.write_text("in the way")
    try:
        with site.opened() as context, pytest.raises(Failure) as caught:
            add_node(context, AddRequest(str(pack), allow_local=True), find_pack=lambda _pack_id: None)
    finally:
        site.layout.snapshots.unlink()
        aside.rename(site.layout.snapshots)
    assert caught.value.code == "state-unwritable"
    assert read_registered(site) == {}
    assert list((site.comfyui / "custom_nodes").iterdir()) == []


@pytest.mark.slow
def test_add_requires_an_initialised_root(tmp_path: Path) -> None:
    site = build_site(tmp_path / "site")
    site.layout.production.unlink()
    pack = create_repository(tmp_path / "pack")
    with pytest.raises(Failure) as caught:
        add_target(site, pack)
    assert caught.value.code == "gov-not-initialised"
    assert list((site.comfyui / "custom_nodes").iterdir()) == []


@pytest.mark.slow
def test_file_in_place_of_custom_nodes_is_reported(tmp_path: Path) -> None:
    site = build_site(tmp_path / "site")
    (site.comfyui / "custom_nodes").rmdir()
    (site.comfyui / "custom_nodes").write_text("in the way")
    with pytest.raises(Failure) as caught:
        add_target(site, create_repository(tmp_path / "pack"))
    assert caught.value.code == "state-unwritable"
    assert read_registered(site) == {}


@pytest.mark.slow
def test_several_folders_are_adopted_in_one_operation(site: Site) -> None:
    for name in ("a", "b", "off.disabled", "bad name"):
        (site.comfyui / "custom_nodes" / name).mkdir()
    (site.comfyui / "custom_nodes" / "single.py").touch()
    with site.opened() as context:
        assert find_unregistered_nodes(context) == ("a", "b", "bad name", "single.py")
        with pytest.raises(Failure) as caught:
            adopt_nodes(context, ["a", "bad name"])
        assert caught.value.code == "gov-bad-id"
        assert read_registered(site) == {}
        with pytest.raises(Failure):
            adopt_nodes(context, ["../main.py"])
        nodes = adopt_nodes(context, ["a", "b", "single.py"])
        assert [node.id for node in nodes] == ["a", "b", "single.py"]
        assert set(read_registered(site)) == {"a", "b", "single.py"}
        assert find_unregistered_nodes(context) == ("bad name",)
        rollback.undo(context, rollback.read_operations(site.layout)[-1].op_id)
        assert read_registered(site) == {}
