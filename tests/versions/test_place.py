from __future__ import annotations

import os
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.versions.place import (
    ClonePlace,
    UserFiles,
    VersionMarker,
    check_removable,
    find_user_files,
    measure_folder,
    read_marker,
    remove_version,
    write_marker,
)
from tests.versions.hosts import commit_all

MARKER = VersionMarker(tag="first", content_sha256="a" * 64, is_complete=True)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "clone"
    (folder / "ComfyUI" / "models").mkdir(parents=True)
    write_marker(ClonePlace(folder), MARKER)
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(Failure) as caught:
        check_removable(folder)
    assert caught.value.code == "version-not-ours"
    return caught.value.message


def test_marker_is_read_back(clone: Path) -> None:
    assert read_marker(clone) == MARKER
    (clone / ".comfywatchman-version.json").write_text("[]")
    assert read_marker(clone) is None


def test_removed_clone_leaves_linked_models_elsewhere(clone: Path, tmp_path: Path) -> None:
    original = tmp_path / "original.safetensors"
    original.write_bytes(b"x" * 10_000)
    os.link(original, clone / "ComfyUI" / "models" / "linked.safetensors")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("")
    (clone / "link").symlink_to(outside)
    (clone / "ComfyUI" / "link").symlink_to(outside)
    assert measure_folder(clone) < 10_000
    remove_version(clone)
    assert not clone.exists()
    assert original.read_bytes() == b"x" * 10_000
    assert (outside / "kept").exists()


def test_folder_without_marker_is_not_removed(clone: Path) -> None:
    (clone / ".comfywatchman-version.json").unlink()
    assert "no .comfywatchman-version.json" in refusal(clone)
    assert (clone / "ComfyUI").is_dir()


def test_links_and_files_are_not_removed(clone: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(clone)
    assert "is a link" in refusal(link)
    assert "not a folder" in refusal(tmp_path / "none")


def test_dangerous_folders_are_not_removed(clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(clone))
    assert "a home" in refusal(clone)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(clone / "ComfyUI")
    assert "around the current one" in refusal(clone)
    for folder in (Path("/"), Path("/usr"), Path("/proc")):
        refusal(folder)


def test_removal_that_failed_can_be_repeated(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (clone / "ComfyUI" / "a").write_text("")

    def fail(_path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("comfywatchman.versions.place.shutil.rmtree", fail)
        with pytest.raises(Failure) as caught:
            remove_version(clone)
    assert caught.value.code == "state-unwritable"
    remove_version(clone)
    assert not clone.exists()


def test_files_of_the_user_are_counted_and_those_of_comfyui_are_not(clone: Path) -> None:
    comfyui = clone / "ComfyUI"
    for folder in ("input", "output"):
        (comfyui / folder).mkdir()
    (comfyui / "input" / "example.png").write_bytes(b"1")
    commit_all(comfyui)
    assert find_user_files(clone) == ()
    for name, content in {
        "output/a/b.png": b"123",
        "output/c.png": b"4",
        "user/default/workflows/x.json": b"12",
    }.items():
        path = comfyui / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    assert find_user_files(clone) == (
        UserFiles(folder="output", count=2, size=4),
        UserFiles(folder="user", count=1, size=2),
    )


def test_files_count_when_git_cannot_be_asked(clone: Path) -> None:
    (clone / "ComfyUI" / "input").mkdir()
    (clone / "ComfyUI" / "input" / "mine.png").write_bytes(b"1")
    assert find_user_files(clone) == (UserFiles(folder="input", count=1, size=1),)
