"""Listing custom node packs without reading them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from comfywatchman.comfyui.packs.scan import PackListing, find_packs, fingerprint_files


def add(path: Path, text: str = "x = 1\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def by_folder(*folders: Path) -> dict[str, PackListing]:
    return {listing.folder: listing for listing in find_packs(folders)}


def test_folders_and_single_files_are_packs_and_other_entries_are_not(tmp_path: Path) -> None:
    add(tmp_path / "pack" / "__init__.py")
    add(tmp_path / "single.py")
    add(tmp_path / "example_node.py.example")
    add(tmp_path / "__pycache__" / "x.py")
    add(tmp_path / ".git" / "x.py")
    add(tmp_path / "notes.txt")
    add(tmp_path / "__init__.py")
    assert {name: item.enabled for name, item in by_folder(tmp_path).items()} == {"pack": True, "single": True}


def test_disabled_packs_are_listed_as_such(tmp_path: Path) -> None:
    add(tmp_path / "one.disabled" / "__init__.py")
    add(tmp_path / ".disabled" / "two" / "__init__.py")
    add(tmp_path / "three.py.disabled")
    found = by_folder(tmp_path)
    assert {name: item.enabled for name, item in found.items()} == {"one": False, "two": False, "three": False}


def test_only_python_and_fact_files_count_and_vendored_folders_do_not(tmp_path: Path) -> None:
    pack = tmp_path / "pack"
    for name in ("__init__.py", "py/a.py", "pyproject.toml", "requirements.txt"):
        add(pack / name)
    for name in ("web/x.py", "node_modules/x.py", ".venv/x.py", "__pycache__/x.py", "a.js", "py/requirements.txt"):
        add(pack / name)
    assert by_folder(tmp_path)["pack"].sources == ("__init__.py", "py/a.py", "pyproject.toml", "requirements.txt")


def test_the_fingerprint_changes_with_sources_only(tmp_path: Path) -> None:
    source = add(tmp_path / "pack" / "__init__.py")
    first = by_folder(tmp_path)["pack"].fingerprint
    add(tmp_path / "pack" / "weights.bin")
    assert by_folder(tmp_path)["pack"].fingerprint == first
    os.utime(source, ns=(1, 1))
    second = by_folder(tmp_path)["pack"].fingerprint
    assert second != first
    add(tmp_path / "pack" / "new.py")
    assert by_folder(tmp_path)["pack"].fingerprint != second


def test_linked_packs_are_followed_and_circles_end(tmp_path: Path) -> None:
    real = tmp_path / "elsewhere"
    add(real / "__init__.py")
    os.symlink(real, real / "again")
    (tmp_path / "custom_nodes").mkdir()
    os.symlink(real, tmp_path / "custom_nodes" / "linked")
    os.symlink(tmp_path / "nowhere", tmp_path / "custom_nodes" / "dangling")
    os.symlink("circle.py", tmp_path / "custom_nodes" / "circle.py")
    found = by_folder(tmp_path / "custom_nodes")
    assert list(found) == ["linked"]
    assert found["linked"].sources == ("__init__.py",)


def test_pipes_and_dangling_links_are_no_sources(tmp_path: Path) -> None:
    add(tmp_path / "pack" / "__init__.py")
    os.mkfifo(tmp_path / "pack" / "pipe.py")
    os.symlink("nowhere", tmp_path / "pack" / "gone.py")
    assert by_folder(tmp_path)["pack"].sources == ("__init__.py",)


def test_a_single_file_changes_its_fingerprint(tmp_path: Path) -> None:
    source = add(tmp_path / "single.py")
    first = by_folder(tmp_path)["single"].fingerprint
    os.utime(source, ns=(5, 5))
    assert by_folder(tmp_path)["single"].fingerprint != first


def test_a_missing_custom_nodes_folder_holds_no_packs(tmp_path: Path) -> None:
    assert find_packs([tmp_path / "nowhere"]) == ()


def test_names_that_are_no_utf8_are_listed(tmp_path: Path) -> None:
    add(Path(os.fsdecode(os.fsencode(tmp_path) + b"/p\xff")) / "__init__.py")
    (listing,) = find_packs([tmp_path])
    assert os.fsencode(listing.folder) == b"p\xff"


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=n", "-c", "user.email=e@example.org", *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
    )


def test_the_git_fingerprint_changes_with_a_commit(tmp_path: Path) -> None:
    pack = tmp_path / "pack"
    add(pack / "__init__.py")
    assert by_folder(tmp_path)["pack"].git_fingerprint == ""
    git(pack, "init", "-q")
    git(pack, "add", ".")
    git(pack, "commit", "-qm", "one")
    first = by_folder(tmp_path)["pack"].git_fingerprint
    assert first == by_folder(tmp_path)["pack"].git_fingerprint != ""
    git(pack, "commit", "-qm", "two", "--allow-empty")
    assert by_folder(tmp_path)["pack"].git_fingerprint != first


def test_a_worktree_has_a_git_fingerprint_of_its_own(tmp_path: Path) -> None:
    main = tmp_path / "main"
    add(main / "__init__.py")
    git(main, "init", "-q")
    git(main, "add", ".")
    git(main, "commit", "-qm", "one")
    git(main, "worktree", "add", "-q", str(tmp_path / "custom_nodes" / "tree"))
    first = by_folder(tmp_path / "custom_nodes")["tree"].git_fingerprint
    git(tmp_path / "custom_nodes" / "tree", "commit", "-qm", "two", "--allow-empty")
    assert by_folder(tmp_path / "custom_nodes")["tree"].git_fingerprint != first != ""


def test_absent_files_have_a_fingerprint_too(tmp_path: Path) -> None:
    path = tmp_path / "nodes.py"
    absent = fingerprint_files([path])
    path.write_text("", "utf-8")
    assert fingerprint_files([path]) != absent


def test_a_pipe_in_the_place_of_a_packs_git_folder_is_not_waited_for(tmp_path: Path) -> None:
    add(tmp_path / "pack" / "__init__.py")
    os.mkfifo(tmp_path / "pack" / ".git")
    assert by_folder(tmp_path)["pack"].git_fingerprint
