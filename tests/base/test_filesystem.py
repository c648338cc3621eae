from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfywatchman.base import filesystem
from comfywatchman.base.filesystem import (
    can_reflink,
    find_network_filesystem,
    read_creation_time_ns,
    rename_without_replacing,
    select_network_filesystem,
    sync_filesystem,
)
from tests.model_files import put

MOUNTS = (
    ("/", "ext4"),
    ("/proc", "proc"),
    ("/srv/share", "nfs4"),
    ("/home/me/far away", "fuse.sshfs"),
    ("/srv/share/local", "xfs"),
    ("/srv/over", "xfs"),
    ("/srv/over", "cifs"),
)


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/srv", None),
        ("/srv/share", "nfs4"),
        ("/srv/share/x/y", "nfs4"),
        ("/srv/shared", None),
        ("/srv/share/local/x", None),
        ("/home/me/far away/x", "fuse.sshfs"),
        ("/", None),
        ("/srv/over/x", "cifs"),
    ],
)
def test_innermost_and_latest_mount_decides(folder: str, kind: str | None) -> None:
    assert select_network_filesystem(MOUNTS, Path(folder)) == kind


def test_mounts_of_this_machine_are_read() -> None:
    # /proc is mounted everywhere that these tests run, and is not a network filesystem.
    assert find_network_filesystem(Path("/proc/self")) is None


def test_missing_folder_cannot_reflink(tmp_path: Path) -> None:
    assert can_reflink(tmp_path / "nothing") is False
    assert can_reflink(tmp_path) in {True, False}
    assert list(tmp_path.iterdir()) == []


def test_filesystem_of_a_folder_is_flushed(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    sync_filesystem(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync_filesystem(tmp_path / "nothing")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def only_links() -> None:
    """Replace `_load_renameat2` on a filesystem, or with a libc, that lacks it."""


@pytest.mark.parametrize("has_renameat2", [True, False])
def test_rename_takes_free_names_only(
    tmp_path: Path,
    folder: int,
    monkeypatch: pytest.MonkeyPatch,
    has_renameat2: bool,  # noqa: FBT001 - parametrized
) -> None:
    if not has_renameat2:
        monkeypatch.setattr(filesystem, "_load_renameat2", only_links)
    put(tmp_path / "a", b"1")
    rename_without_replacing("a", "b", folder=folder)
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
    put(tmp_path / "a", b"2")
    with pytest.raises(FileExistsError):
        rename_without_replacing("a", "b", folder=folder)
    assert (tmp_path / "b").read_bytes() == b"1"
    assert (tmp_path / "a").read_bytes() == b"2"
    with pytest.raises(FileNotFoundError):
        rename_without_replacing("gone", "c", folder=folder)


def test_dangling_link_counts_as_taken(tmp_path: Path, folder: int) -> None:
    (tmp_path / "b").symlink_to("nowhere")
    put(tmp_path / "a")
    with pytest.raises(FileExistsError):
        rename_without_replacing("a", "b", folder=folder)


def test_creation_time_survives_changes_and_moves(tmp_path: Path) -> None:
    before = time.time_ns()
    folder = tmp_path / "a"
    folder.mkdir()
    created = read_creation_time_ns(folder)
    if created is None:  # this filesystem keeps none
        return
    assert abs(created - before) < 10_000_000_000
    (folder / "b").touch()
    os.utime(folder, (1, 1))
    moved = folder.rename(tmp_path / "c")
    assert read_creation_time_ns(moved) == created


def test_creation_time_of_an_absent_file_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_creation_time_ns(tmp_path / "absent")


def test_creation_time_is_that_of_coreutils(tmp_path: Path) -> None:
    told = subprocess.run(["stat", "-c", "%W", str(tmp_path)], capture_output=True, check=True).stdout
    assert (read_creation_time_ns(tmp_path) or 0) // 1_000_000_000 == int(told)


def test_creation_time_is_unknown_where_none_is_kept() -> None:
    assert read_creation_time_ns(Path("/proc")) is None
