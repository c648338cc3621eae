"""Which ComfyUI a stored fact belongs to."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from comfywatchman.base.filesystem import read_creation_time_ns
from comfywatchman.comfyui.install import identity
from comfywatchman.comfyui.install.identity import identify_comfyui


def make(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def test_links_and_spellings_are_the_same_comfyui(tmp_path: Path) -> None:
    comfyui = make(tmp_path / "ComfyUI")
    (tmp_path / "link").symlink_to(comfyui)
    watched = identify_comfyui(comfyui)
    assert watched.root == watched.base == str(comfyui)
    for spelling in (tmp_path / "link", Path(f"{comfyui}/"), tmp_path / "x" / ".." / "ComfyUI"):
        assert identify_comfyui(spelling).is_same(watched)
    assert identify_comfyui(comfyui, tmp_path / "link") == watched


def test_moved_folder_is_the_same_comfyui(tmp_path: Path) -> None:
    comfyui = make(tmp_path / "a")
    watched = identify_comfyui(comfyui)
    if read_creation_time_ns(comfyui) is None:  # then the path counts
        return
    moved = identify_comfyui(comfyui.rename(tmp_path / "b"))
    assert moved.is_same(watched)
    assert moved.root != watched.root


@pytest.mark.parametrize("names", [("app", "app/data"), ("app", ".")])
def test_moved_folder_takes_its_base_directory_along(tmp_path: Path, names: tuple[str, str]) -> None:
    place = make(tmp_path / "a")
    make(place / "app" / "data")
    watched = identify_comfyui(place / names[0], place / names[1])
    if read_creation_time_ns(place) is None:  # then the path counts
        return
    place.rename(tmp_path / "b")
    assert identify_comfyui(tmp_path / "b" / names[0], tmp_path / "b" / names[1]).is_same(watched)
    assert not identify_comfyui(tmp_path / "b" / "app").is_same(watched)


def test_another_folder_at_the_same_path_is_another_comfyui(tmp_path: Path) -> None:
    comfyui = make(tmp_path / "a")
    watched = identify_comfyui(comfyui)
    if read_creation_time_ns(comfyui) is None:
        return
    comfyui.rename(tmp_path / "b")
    assert not identify_comfyui(make(comfyui)).is_same(watched)
    comfyui.rmdir()
    # The filesystem may give the same inode again; the creation time differs.
    assert not identify_comfyui(make(comfyui)).is_same(watched)


def test_another_base_directory_is_another_comfyui(tmp_path: Path) -> None:
    root, base = make(tmp_path / "a"), tmp_path / "b"
    watched = identify_comfyui(root, base)
    assert not watched.is_same(identify_comfyui(root))
    # An unmounted disk leaves an empty folder, or none.
    make(base)
    assert identify_comfyui(root, base).is_same(watched)


def test_unreachable_folder_is_recognised_by_its_path(tmp_path: Path) -> None:
    comfyui = make(tmp_path / "a")
    watched = identify_comfyui(comfyui)
    comfyui.rename(tmp_path / "b")
    away = identify_comfyui(comfyui)
    assert away.id == ""
    assert away.is_same(watched)
    assert not away.is_same(msgspec.structs.replace(watched, hostname="elsewhere"))
    assert not watched.is_same(None)


def test_another_machine_is_another_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = identify_comfyui(tmp_path)
    monkeypatch.setattr(identity, "read_machine_id", lambda: "another")
    assert not identify_comfyui(tmp_path).is_same(watched)


def test_path_counts_without_a_creation_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "read_creation_time_ns", lambda _path: None)
    watched = identify_comfyui(make(tmp_path / "a"))
    assert identify_comfyui(tmp_path / "a").is_same(watched)
    assert not identify_comfyui(make(tmp_path / "b")).is_same(watched)
