from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.versions.code import find_unpinned_code, lock_code, lock_nodes
from comfywatchman.versions.lockfile import LockedCode

GIT = ("git", "-c", "user.name=A", "-c", "user.email=a@example.org")


def git(folder: Path, *arguments: str) -> None:
    variables = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "PATH": os.environ["PATH"]}
    subprocess.run([*GIT, *arguments], cwd=folder, env=variables, check=True, capture_output=True)


def pack(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("NODE_CLASS_MAPPINGS = {}\n")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "remote", "add", "origin", "https://token@example.org/pack.git")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


@pytest.mark.slow
def test_unchanged_checkout_is_pinned_by_its_commit(tmp_path: Path) -> None:
    code = lock_code(pack(tmp_path / "pack"), "pack", version="1.0")
    assert (code.source, code.repo, code.version) == ("git", "https://example.org/pack.git", "1.0")
    assert code.commit
    assert code.tree
    assert code.dirty_tree is None
    assert find_unpinned_code(code) == ()


@pytest.mark.slow
def test_modified_checkout_is_never_recorded_as_clean(tmp_path: Path) -> None:
    folder = pack(tmp_path / "pack")
    (folder / "added.py").write_text("X = 1\n")
    code = lock_code(folder, "pack")
    assert code.changed_files == ("added.py",)
    assert code.dirty_tree not in {None, code.tree}
    assert [gap.reason for gap in find_unpinned_code(code)] == ["modified"]


@pytest.mark.slow
def test_checkout_that_git_cannot_read_is_refused(tmp_path: Path) -> None:
    folder = pack(tmp_path / "pack")
    for thing in sorted((folder / ".git" / "objects").glob("??/*")):
        thing.unlink()
    with pytest.raises(Failure) as caught:
        lock_code(folder, "pack")
    assert caught.value.code == "version-code-unknown"


def test_nodes_without_git_are_recorded_by_their_bytes(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "__init__.py").write_text("")
    (tmp_path / "off.disabled").mkdir()
    (tmp_path / "single.py").write_text("X = 1\n")
    (tmp_path / "readme.txt").write_text("no node")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / ".git").mkdir()
    nodes = lock_nodes(tmp_path)
    assert [(node.name, node.source, node.is_enabled) for node in nodes] == [
        ("off.disabled", "folder", False),
        ("plain", "folder", True),
        ("single.py", "file", True),
    ]
    assert all(node.code_sha256 for node in nodes)
    assert [gap.reason for node in nodes for gap in find_unpinned_code(node)] == ["no-repository"] * 3


def test_missing_folder_has_no_nodes(tmp_path: Path) -> None:
    assert lock_nodes(tmp_path / "none") == ()


def test_folder_that_cannot_be_listed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "custom_nodes").write_text("a file")
    with pytest.raises(Failure) as caught:
        lock_nodes(tmp_path / "custom_nodes")
    assert caught.value.code == "version-code-unknown"


def test_missing_folder_cannot_be_recorded(tmp_path: Path) -> None:
    with pytest.raises(Failure) as caught:
        lock_code(tmp_path / "none", "none")
    assert caught.value.code == "version-code-unknown"


def test_code_without_an_address_is_unpinned() -> None:
    code = LockedCode(name="pack", source="git", commit="c" * 40, tree="d" * 40)
    assert [gap.reason for gap in find_unpinned_code(code)] == ["no-repository"]


@pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree"])
def test_change_hidden_from_git_is_recorded(tmp_path: Path, flag: str) -> None:
    folder = pack(tmp_path / "pack")
    git(folder, "update-index", flag, "__init__.py")
    assert lock_code(folder, "pack").dirty_tree is None
    (folder / "__init__.py").write_text("NODE_CLASS_MAPPINGS = {'X': 1}\n")
    assert lock_code(folder, "pack").changed_files == ("__init__.py",)


@pytest.mark.slow
def test_changed_and_absent_submodules_are_recorded(tmp_path: Path) -> None:
    inner = pack(tmp_path / "inner")
    folder = pack(tmp_path / "pack")
    git(folder, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner), "sub")
    git(folder, "commit", "-q", "-m", "submodule")
    assert lock_code(folder, "pack").dirty_tree is None
    (folder / "sub" / "__init__.py").write_text("changed\n")
    changed = lock_code(folder, "pack")
    assert changed.changed_files == ("sub",)
    git(folder, "submodule", "deinit", "-q", "-f", "sub")
    absent = lock_code(folder, "pack")
    assert absent.changed_files == ("sub",)
    assert None not in {changed.dirty_tree, absent.dirty_tree}
    assert changed.dirty_tree != absent.dirty_tree
