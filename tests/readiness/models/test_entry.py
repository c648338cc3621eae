from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from comfywatchman.comfyui.install.reachability import Obstacle, ObstacleKind
from comfywatchman.readiness.models.entry import (
    LINK_BROKEN,
    NOT_REGULAR,
    UNFINISHED,
    UNREADABLE,
    ModelEntry,
    is_skipped,
    read_entry,
)
from tests.model_files import put


@dataclass
class Folder:
    """A folder, and the entries of its directory."""

    path: Path

    def find(self, name: str) -> os.DirEntry[str]:
        with os.scandir(self.path) as items:
            return next(item for item in items if item.name == name)

    def read(self, name: str, unmounted: Sequence[str] = ()) -> ModelEntry | None:
        return read_entry(self.find(name), f"sub/{name}", unmounted)


def test_file_is_described_by_the_target_of_its_link(tmp_path: Path) -> None:
    target = put(tmp_path / "disk" / "big.pt", b"12345")
    (tmp_path / "a.pt").symlink_to("disk/big.pt")
    entry = Folder(tmp_path).read("a.pt")
    status = target.stat()
    assert entry == ModelEntry("sub/a.pt", str(tmp_path / "a.pt"), 5, status.st_mtime_ns, status.st_dev, status.st_ino)


def test_file_that_was_deleted_during_the_scan_has_no_entry(tmp_path: Path) -> None:
    item = Folder(put(tmp_path / "a.pt").parent).find("a.pt")
    (tmp_path / "a.pt").unlink()
    assert read_entry(item, "a.pt", ()) is None


def test_link_that_was_deleted_during_the_scan_has_no_entry(tmp_path: Path) -> None:
    (tmp_path / "a.pt").symlink_to("gone.pt")
    item = Folder(tmp_path).find("a.pt")
    assert item.is_symlink()
    (tmp_path / "a.pt").unlink()
    assert read_entry(item, "a.pt", ()) is None


def test_link_to_itself_is_broken(tmp_path: Path) -> None:
    (tmp_path / "a.pt").symlink_to("a.pt")
    entry = Folder(tmp_path).read("a.pt")
    assert entry is not None
    assert (entry.problem_code, entry.obstacle) == (LINK_BROKEN, None)
    assert entry.problem == "a link to a.pt, which does not exist"


def test_link_below_an_empty_mount_point_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "a.pt").symlink_to(tmp_path / "disk" / "a.pt")
    folder = Folder(tmp_path)
    entry = folder.read("a.pt", unmounted=[str(tmp_path / "disk")])
    assert entry is not None
    assert entry.problem_code == UNREADABLE
    assert entry.obstacle is not None
    assert entry.obstacle.kind is ObstacleKind.NOT_MOUNTED
    mounted = folder.read("a.pt")
    assert mounted is not None
    assert mounted.problem_code == LINK_BROKEN


def test_comfyui_skips_only_names_that_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.pt")
    (tmp_path / "link.pt").symlink_to("gone.pt")
    put(tmp_path / "a.pt")
    folder = Folder(tmp_path)
    entries = [folder.read(name) for name in ("fifo.pt", "link.pt", "a.pt")]
    shown = [(entry.problem_code, is_skipped(entry), os.path.isfile(entry.path)) for entry in entries if entry]
    assert shown == [(NOT_REGULAR, True, False), (LINK_BROKEN, True, False), (None, False, True)]

    file = folder.read("a.pt")
    assert file is not None
    obstacle = Obstacle(ObstacleKind.UNREADABLE, file.path, "Permission denied")
    closed = msgspec.structs.replace(file, problem_code=UNREADABLE, obstacle=obstacle)
    assert not is_skipped(closed)
    assert is_skipped(msgspec.structs.replace(closed, inode=0))
    assert not is_skipped(msgspec.structs.replace(file, problem_code=UNFINISHED))
