"""Telling deleted workflow files from unavailable ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from comfywatchman.readiness.workflows.availability import explain_absence
from comfywatchman.readiness.workflows.discovery import WatchedRoot, list_workflows


def write_file(path: Path, text: str = "{}") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def is_gone(path: str, roots: list[WatchedRoot], *, device: int | None = None) -> bool:
    listing = list_workflows(roots, suffixes=frozenset({".json"}))
    return explain_absence(path, roots, listing, device=device) is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list folders of mode 000, so there is nothing to be refused")
def test_a_forbidden_folder_is_a_problem_and_its_files_are_not_gone(tmp_path: Path) -> None:
    path = write_file(tmp_path / "closed" / "w.json")
    path.parent.chmod(0)
    try:
        assert not is_gone(str(path), [WatchedRoot(tmp_path, "x")])
    finally:
        path.parent.chmod(0o755)


def test_a_deleted_file_or_folder_is_gone(tmp_path: Path) -> None:
    write_file(tmp_path / "kept.json")
    roots = [WatchedRoot(tmp_path, "x")]
    assert is_gone(str(tmp_path / "w.json"), roots)
    assert is_gone(str(tmp_path / "deleted" / "deeper" / "w.json"), roots)
    assert is_gone(str(tmp_path / "kept.json" / "w.json"), roots)


def test_a_file_of_a_missing_root_is_not_gone(tmp_path: Path) -> None:
    roots = [WatchedRoot(tmp_path / "disk", "x")]
    assert not is_gone(str(tmp_path / "disk" / "w.json"), roots)
    assert not is_gone(str(tmp_path / "disk" / "a" / "w.json"), roots)


def test_file_behind_a_broken_link_is_not_gone(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("unmounted")
    (tmp_path / "w.json").symlink_to("unmounted.json")
    (tmp_path / "loop.json").symlink_to("loop.json")
    roots = [WatchedRoot(tmp_path, "x")]
    assert not is_gone(str(tmp_path / "link" / "w.json"), roots)
    assert not is_gone(str(tmp_path / "w.json"), roots)
    assert not is_gone(str(tmp_path / "loop.json"), roots)


def test_an_empty_folder_of_another_device_than_before_is_an_unmounted_disk(tmp_path: Path) -> None:
    roots = [WatchedRoot(tmp_path, "x")]
    here = tmp_path.stat().st_dev
    assert not is_gone(str(tmp_path / "w.json"), roots, device=here + 1)
    assert is_gone(str(tmp_path / "w.json"), roots, device=here)
    write_file(tmp_path / "other.txt")
    assert is_gone(str(tmp_path / "w.json"), roots, device=here + 1)


def test_files_of_an_emptied_mounted_disk_are_gone() -> None:
    mounted = next((path for path in (Path("/dev/mqueue"), Path("/dev/shm")) if is_empty_mount(path)), None)  # noqa: S108
    if mounted is None:
        pytest.skip("this machine has no empty mounted folder to look at")
    assert is_gone(str(mounted / "w.json"), [WatchedRoot(mounted, "x")], device=-1)


def is_empty_mount(path: Path) -> bool:
    return path.is_mount() and not os.listdir(path)


def test_single_file_root_is_gone_when_its_folder_is_readable(tmp_path: Path) -> None:
    path = tmp_path / "w.json"
    assert is_gone(str(path), [WatchedRoot(path, "x")])
    far = tmp_path / "unmounted" / "w.json"
    assert not is_gone(str(far), [WatchedRoot(far, "x")])


def test_file_under_no_root_is_gone(tmp_path: Path) -> None:
    assert is_gone(str(write_file(tmp_path / "w.json")), [WatchedRoot(tmp_path / "other", "x")])
    assert is_gone("/anywhere.json", [])


def test_existing_but_unlisted_path_is_gone(tmp_path: Path) -> None:
    write_file(tmp_path / "picture.png")
    (tmp_path / "w.json").mkdir()
    for name in ("picture.png", "w.json"):
        assert is_gone(str(tmp_path / name), [WatchedRoot(tmp_path, "x")])
