"""Listing custom node packs without reading them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from comfywatchman.comfyui.packs.scan import PackListing, find_node_folders, find_packs, fingerprint_files
from tests.closed_paths import close_paths


def add_file(path: Path, text: str = "x = 1\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def find_by_folder(*folders: Path) -> dict[str, PackListing]:
    return {listing.folder: listing for listing in find_packs(folders)}


def test_folders_and_python_files_are_packs(tmp_path: Path) -> None:
    add_file(tmp_path / "pack" / "__init__.py")
    add_file(tmp_path / "single.py")
    add_file(tmp_path / "example_node.py.example")
    add_file(tmp_path / "__pycache__" / "x.py")
    add_file(tmp_path / ".git" / "x.py")
    add_file(tmp_path / "notes.txt")
    add_file(tmp_path / "__init__.py")
    assert {name: item.enabled for name, item in find_by_folder(tmp_path).items()} == {"pack": True, "single": True}


def test_disabled_packs_are_marked(tmp_path: Path) -> None:
    add_file(tmp_path / "one.disabled" / "__init__.py")
    add_file(tmp_path / ".disabled" / "two" / "__init__.py")
    add_file(tmp_path / "three.py.disabled")
    packs = find_by_folder(tmp_path)
    assert {name: item.enabled for name, item in packs.items()} == {"one": False, "two": False, "three": False}


def test_only_python_and_metadata_files_count(tmp_path: Path) -> None:
    pack = tmp_path / "pack"
    for name in ("__init__.py", "py/a.py", "pyproject.toml", "requirements.txt"):
        add_file(pack / name)
    for name in ("web/x.py", "node_modules/x.py", ".venv/x.py", "__pycache__/x.py", "a.js", "py/requirements.txt"):
        add_file(pack / name)
    assert find_by_folder(tmp_path)["pack"].sources == ("__init__.py", "py/a.py", "pyproject.toml", "requirements.txt")


def test_fingerprint_changes_with_sources_only(tmp_path: Path) -> None:
    source = add_file(tmp_path / "pack" / "__init__.py")
    first = find_by_folder(tmp_path)["pack"].fingerprint
    add_file(tmp_path / "pack" / "weights.bin")
    assert find_by_folder(tmp_path)["pack"].fingerprint == first
    os.utime(source, ns=(1, 1))
    second = find_by_folder(tmp_path)["pack"].fingerprint
    assert second != first
    add_file(tmp_path / "pack" / "new.py")
    assert find_by_folder(tmp_path)["pack"].fingerprint != second


def test_links_are_followed_and_cycles_end(tmp_path: Path) -> None:
    real = tmp_path / "elsewhere"
    add_file(real / "__init__.py")
    os.symlink(real, real / "again")
    (tmp_path / "custom_nodes").mkdir()
    os.symlink(real, tmp_path / "custom_nodes" / "linked")
    os.symlink("circle.py", tmp_path / "custom_nodes" / "circle.py")
    packs = find_by_folder(tmp_path / "custom_nodes")
    assert list(packs) == ["linked"]
    assert packs["linked"].sources == ("__init__.py",)


def test_pack_that_cannot_be_looked_at_has_an_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("closed/__init__.py", "part/__init__.py", "part/inner/a.py", "locked/__init__.py", "whole/a.py"):
        add_file(tmp_path / name)
    (tmp_path / "locked/__init__.py").chmod(0)
    for name in ("dangling", "single.py", "part/link.py"):
        os.symlink("/nowhere/at/all", tmp_path / name)
    close_paths(monkeypatch, tmp_path / "closed", tmp_path / "part/inner")
    monkeypatch.setattr(os, "access", lambda *_: False)
    packs = find_by_folder(tmp_path)
    found = {name: listing.obstacle and listing.obstacle.path for name, listing in packs.items()}
    assert found.pop("part") in {str(tmp_path / "part/inner"), str(tmp_path / "part/link.py")}
    assert found == {
        "closed": str(tmp_path / "closed"),
        "dangling": str(tmp_path / "dangling"),
        "locked": str(tmp_path / "locked/__init__.py"),
        "single": str(tmp_path / "single.py"),
        "whole": None,
    }
    assert {name for name, listing in packs.items() if listing.is_hidden} == {"closed", "dangling", "single"}


def test_fifos_and_dangling_links_are_not_sources(tmp_path: Path) -> None:
    add_file(tmp_path / "pack" / "__init__.py")
    os.mkfifo(tmp_path / "pack" / "pipe.py")
    os.symlink("nowhere", tmp_path / "pack" / "gone.py")
    assert find_by_folder(tmp_path)["pack"].sources == ("__init__.py",)


def test_fingerprint_of_a_one_file_pack_changes(tmp_path: Path) -> None:
    source = add_file(tmp_path / "single.py")
    first = find_by_folder(tmp_path)["single"].fingerprint
    os.utime(source, ns=(5, 5))
    assert find_by_folder(tmp_path)["single"].fingerprint != first


def test_missing_custom_nodes_folder_has_no_packs(tmp_path: Path) -> None:
    assert find_packs([tmp_path / "nowhere"]) == ()


def test_undecodable_names_are_listed(tmp_path: Path) -> None:
    add_file(Path(os.fsdecode(os.fsencode(tmp_path) + b"/p\xff")) / "__init__.py")
    (listing,) = find_packs([tmp_path])
    assert os.fsencode(listing.folder) == b"p\xff"


def run_git(folder: Path, *arguments: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=n", "-c", "user.email=e@example.org", *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
    )


def test_git_fingerprint_changes_with_a_commit(tmp_path: Path) -> None:
    pack = tmp_path / "pack"
    add_file(pack / "__init__.py")
    assert find_by_folder(tmp_path)["pack"].git_fingerprint == ""
    run_git(pack, "init", "-q")
    run_git(pack, "add", ".")
    run_git(pack, "commit", "-qm", "one")
    first = find_by_folder(tmp_path)["pack"].git_fingerprint
    assert first == find_by_folder(tmp_path)["pack"].git_fingerprint != ""
    run_git(pack, "commit", "-qm", "two", "--allow-empty")
    assert find_by_folder(tmp_path)["pack"].git_fingerprint != first


def test_worktree_has_a_git_fingerprint(tmp_path: Path) -> None:
    main = tmp_path / "main"
    add_file(main / "__init__.py")
    run_git(main, "init", "-q")
    run_git(main, "add", ".")
    run_git(main, "commit", "-qm", "one")
    run_git(main, "worktree", "add", "-q", str(tmp_path / "custom_nodes" / "tree"))
    first = find_by_folder(tmp_path / "custom_nodes")["tree"].git_fingerprint
    run_git(tmp_path / "custom_nodes" / "tree", "commit", "-qm", "two", "--allow-empty")
    assert find_by_folder(tmp_path / "custom_nodes")["tree"].git_fingerprint != first != ""


def test_absent_files_have_a_fingerprint(tmp_path: Path) -> None:
    path = tmp_path / "nodes.py"
    absent = fingerprint_files([path])
    path.write_text("", "utf-8")
    assert fingerprint_files([path]) != absent


def test_fifo_in_place_of_git_folder_does_not_block(tmp_path: Path) -> None:
    add_file(tmp_path / "pack" / "__init__.py")
    os.mkfifo(tmp_path / "pack" / ".git")
    assert find_by_folder(tmp_path)["pack"].git_fingerprint


def test_packs_are_folders_and_single_files_without_that_of_comfyui(tmp_path: Path) -> None:
    for name in ("one", "two.disabled"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    (tmp_path / "single.py").touch()
    (tmp_path / "websocket_image_save.py").touch()
    packs = find_node_folders(tmp_path)
    assert {name: listing.path.name for name, listing in packs.items()} == {
        "one": "one",
        "single.py": "single.py",
        "two": "two.disabled",
    }
