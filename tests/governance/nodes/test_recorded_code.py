"""The code of nodes, taken back to what was recorded."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from comfywatchman.base import code_tree
from comfywatchman.base.code_tree import hash_code_tree
from comfywatchman.base.errors import Failure
from comfywatchman.base.git import read_head
from comfywatchman.governance.nodes import recorded_code
from comfywatchman.governance.nodes.recorded_code import CodeChange, find_obstacles, keep_copy, restore_code
from comfywatchman.governance.store.records import NodeRegistry, RegisteredNode
from tests.base.test_git import git
from tests.governance.contexts import Site, build_site
from tests.governance.packs import commit_files, create_repository

pytestmark = pytest.mark.slow


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = build_site(tmp_path, init=False)
    site.root.mkdir(exist_ok=True)
    return site


def _register(folder: Path) -> NodeRegistry:
    commit = read_head(folder)
    node = RegisteredNode(
        id=folder.name,
        git_url="https://host/pack",
        ref="",
        path=str(folder),
        group=f"node-{folder.name}",
        commit=commit,
        tree=hash_code_tree(folder),
    )
    return NodeRegistry(plugins={node.id: node})


def test_recorded_commit_is_checked_out(site: Site) -> None:
    folder = create_repository(site.comfyui / "custom_nodes" / "pack")
    registry = _register(folder)
    recorded = read_head(folder)
    commit_files(folder, {"more.py": ""})
    moved = read_head(folder)
    with site.opened() as context:
        assert find_obstacles(context, registry) == {}
        changes = restore_code(context, registry)
        assert restore_code(context, registry) == ()
    assert changes == (CodeChange(node_id="pack", before=moved, after=recorded or ""),)
    assert (read_head(folder), (folder / "more.py").exists()) == (recorded, False)


def test_local_changes_are_never_overwritten(site: Site) -> None:
    folder = create_repository(site.comfyui / "custom_nodes" / "pack")
    registry = _register(folder)
    commit_files(folder, {"__init__.py": "NEW = 1\n"})
    (folder / "__init__.py").write_text("MINE = 1\n")
    with site.opened() as context:
        assert find_obstacles(context, registry) == {"pack": "it has local changes"}
        (change,) = restore_code(context, registry)
    assert change.error == "it has local changes"
    assert (folder / "__init__.py").read_text() == "MINE = 1\n"


def test_commit_that_is_gone_is_reported(site: Site) -> None:
    folder = create_repository(site.comfyui / "custom_nodes" / "pack")
    node = _register(folder).plugins["pack"]
    registry = NodeRegistry(plugins={"pack": msgspec.structs.replace(node, commit="a" * 40)})
    git(folder, "remote", "add", "origin", str(site.folder / "absent"))
    with site.opened() as context:
        (change,) = restore_code(context, registry)
    assert "git could not get" in change.error


def test_folder_without_git_comes_back_from_its_copy(site: Site) -> None:
    folder = site.comfyui / "custom_nodes" / "plain"
    (folder / "inner").mkdir(parents=True)
    (folder / "__init__.py").write_text("OLD = 1\n")
    (folder / "inner" / "a.py").write_text("")
    (folder / "settings.json").write_text("{}")
    registry = _register(folder)
    keep_copy(site.layout, "plain", folder)
    keep_copy(site.layout, "plain", folder)
    (folder / "__init__.py").write_text("NEW = 1\n")
    (folder / "added.py").write_text("")
    (folder / "settings.json").write_text("[]")
    changed = _register(folder)
    with site.opened() as context:
        assert find_obstacles(context, registry) == {}
        (change,) = restore_code(context, registry)
        assert change.error == ""
        assert hash_code_tree(folder) == registry.plugins["plain"].tree
        assert (folder / "settings.json").read_text() == "[]"
        assert restore_code(context, changed)[0].error == ""
    assert hash_code_tree(folder) == changed.plugins["plain"].tree


def test_code_without_a_copy_is_an_obstacle(site: Site) -> None:
    folder = site.comfyui / "custom_nodes" / "plain"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("OLD = 1\n")
    registry = _register(folder)
    (folder / "__init__.py").write_text("NEW = 1\n")
    pack = create_repository(site.comfyui / "custom_nodes" / "pack")
    both = NodeRegistry(plugins={**registry.plugins, **_register(pack).plugins})
    pack.rename(pack.with_name("moved"))
    with site.opened() as context:
        assert find_obstacles(context, both) == {
            "plain": "no copy of its code was kept",
            "pack": "its folder is gone; clone it again: https://host/pack",
        }
        assert [change.before is None for change in restore_code(context, both)] == [True, False]


def test_few_copies_are_kept(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded_code, "_MAX_COPIES", 2)
    folder = site.comfyui / "custom_nodes" / "plain"
    folder.mkdir(parents=True)
    for number in range(4):
        (folder / "__init__.py").write_text(f"NUMBER = {number}\n")
        keep_copy(site.layout, "plain", folder)
    assert len(list((site.layout.code / "plain").iterdir())) == 2


def _change_plain(site: Site) -> tuple[Path, NodeRegistry]:
    """Make a folder without git, keep a copy of it, change it, and return it with the record before the change."""
    folder = site.comfyui / "custom_nodes" / "plain"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("OLD = 1\n")
    (folder / "part.py").write_text("")
    registry = _register(folder)
    keep_copy(site.layout, "plain", folder)
    (folder / "__init__.py").write_text("NEW = 1\n")
    return folder, registry


def test_copy_to_restore_is_never_the_one_deleted(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded_code, "_MAX_COPIES", 1)
    folder, registry = _change_plain(site)
    with site.opened() as context:
        (change,) = restore_code(context, registry)
    assert change.error == ""
    assert (folder / "__init__.py").read_text() == "OLD = 1\n"


def test_code_that_cannot_be_copied_is_not_replaced(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, registry = _change_plain(site)
    monkeypatch.setattr(code_tree, "_MAX_FILES", 1)
    with site.opened() as context:
        assert find_obstacles(context, registry) == {"plain": "its present code cannot be copied"}
        (change,) = restore_code(context, registry)
    assert change.error == "its present code cannot be copied"
    assert (folder / "__init__.py").read_text() == "NEW = 1\n"


def test_folder_that_has_git_now_is_not_replaced(site: Site) -> None:
    folder, registry = _change_plain(site)
    repository = create_repository(site.folder / "repository")
    (repository / ".git").rename(folder / ".git")
    (folder / "mine.py").write_text("")
    with site.opened() as context:
        assert find_obstacles(context, registry) == {"plain": "its folder has become a working copy of git"}
        assert restore_code(context, registry)[0].error == "its folder has become a working copy of git"
    assert (folder / "mine.py").exists()


def test_code_that_cannot_be_put_back_changes_nothing(site: Site) -> None:
    folder, registry = _change_plain(site)
    (folder / "part.py").unlink()
    # A folder has the name of a recorded file.
    (folder / "part.py").mkdir()
    (folder / "part.py" / "settings.json").write_text("{}")
    before = hash_code_tree(folder)
    with site.opened() as context:
        (change,) = restore_code(context, registry)
    assert change.error != ""
    assert hash_code_tree(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["plain"]


def test_folder_that_is_gone_comes_back_from_its_copy(site: Site) -> None:
    folder, registry = _change_plain(site)
    shutil.rmtree(folder)
    with site.opened() as context:
        assert restore_code(context, registry)[0].error == ""
    assert hash_code_tree(folder) == registry.plugins["plain"].tree


def test_copy_that_cannot_be_written_is_reported(site: Site) -> None:
    folder = site.comfyui / "custom_nodes" / "plain"
    folder.mkdir(parents=True)
    site.layout.code.write_text("a file")
    with pytest.raises(Failure) as caught:
        keep_copy(site.layout, "plain", folder)
    assert caught.value.code == "state-unwritable"
