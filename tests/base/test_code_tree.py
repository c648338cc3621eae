from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from comfywatchman.base import code_tree
from comfywatchman.base.code_tree import copy_code_tree, delete_code_tree, hash_code_tree


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    (tmp_path / "pack/sub").mkdir(parents=True)
    (tmp_path / "pack/__init__.py").write_text("A = 1\n")
    (tmp_path / "pack/sub/web.js").write_text("let a\n")
    (tmp_path / "pack/requirements.txt").write_text("numpy\n")
    (tmp_path / "pack/settings.json").write_text("{}")
    return tmp_path / "pack"


@pytest.mark.parametrize(
    "change",
    [
        lambda pack: (pack / "__init__.py").write_text("A = 2\n"),
        lambda pack: (pack / "sub/more.py").write_text(""),
        lambda pack: (pack / "sub/web.js").rename(pack / "web.js"),
        lambda pack: (pack / "requirements.txt").unlink(),
        lambda pack: (pack / "__init__.py").chmod(0o755),
        lambda pack: (pack / "link").symlink_to("elsewhere"),
        lambda pack: (pack / "payload.so").write_bytes(b"\x7fELF"),
    ],
)
def test_changed_code_changes_the_hash(pack: Path, change: Callable[[Path], object]) -> None:
    before = hash_code_tree(pack)
    change(pack)
    assert hash_code_tree(pack) != before


def test_caches_and_settings_do_not_change_the_hash(pack: Path) -> None:
    before = hash_code_tree(pack)
    (pack / "settings.json").write_text('{"a": 1}')
    for name in ("model.safetensors", "sam.pth", "log.txt"):
        (pack / name).write_bytes(b"1")
    for name in ("__pycache__", ".git", "node_modules"):
        (pack / name).mkdir()
        (pack / name / "x.py").write_text("")
    os.utime(pack / "__init__.py", (1, 1))
    assert hash_code_tree(pack) == before
    assert before is not None


def test_copies_have_the_same_hash(pack: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(pack, tmp_path / "other")
    assert hash_code_tree(tmp_path / "other") == hash_code_tree(pack)


def test_single_file_has_the_hash_of_its_content(pack: Path) -> None:
    file = pack / "__init__.py"
    assert hash_code_tree(file) == hashlib.sha256(file.read_bytes()).hexdigest()


def test_missing_folder_has_no_hash(pack: Path) -> None:
    assert hash_code_tree(pack / "absent") is None


def test_too_many_files_have_no_hash(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = sum(1 for _ in code_tree._walk_code(str(pack), ""))
    monkeypatch.setattr(code_tree, "_MAX_FILES", count)
    assert hash_code_tree(pack) is not None
    monkeypatch.setattr(code_tree, "_MAX_FILES", count - 1)
    assert hash_code_tree(pack) is None


def test_copied_code_has_the_same_hash(tmp_path: Path) -> None:
    folder = tmp_path / "pack"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "run.sh").write_text("#!/bin/sh\n")
    (folder / "inner" / "run.sh").chmod(0o755)
    (folder / "__init__.py").write_text("A = 1\n")
    (folder / "link").symlink_to("__init__.py")
    (folder / "model.safetensors").write_text("large")
    copy_code_tree(folder, tmp_path / "copy")
    assert hash_code_tree(tmp_path / "copy") == hash_code_tree(folder)
    assert not (tmp_path / "copy" / "model.safetensors").exists()
    delete_code_tree(folder)
    assert [path.name for path in folder.iterdir() if path.is_file()] == ["model.safetensors"]
