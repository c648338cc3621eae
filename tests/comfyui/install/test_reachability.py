from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from comfywatchman.comfyui.install.reachability import (
    Obstacle,
    ObstacleKind,
    describe_obstacle,
    describe_problem,
    describe_remedy,
    explain_error,
    explain_missing_folder,
    explain_missing_target,
    explain_unreachable,
    list_unmounted,
)
from tests.closed_paths import close_paths
from tests.model_files import put

DENIED = os.strerror(errno.EACCES)


def explain(directory: Path, base: Path | None = None) -> tuple[ObstacleKind, str] | None:
    obstacle = explain_missing_folder(str(directory), None if base is None else str(base))
    return None if obstacle is None else (obstacle.kind, obstacle.path)


def test_folder_below_a_base_that_holds_something_does_not_exist(tmp_path: Path) -> None:
    put(tmp_path / "base/other/a.pt")
    assert explain(tmp_path / "base/loras", tmp_path / "base") is None
    assert explain(tmp_path / "base/a/b/loras", tmp_path / "base") is None
    assert explain(tmp_path / "nowhere/loras") is None


def test_folder_below_a_base_that_does_not_exist_may_be_on_another_disk(tmp_path: Path) -> None:
    base = tmp_path / "mnt/disk/models"
    assert explain(base / "loras", base) == (ObstacleKind.NOT_MOUNTED, str(base))
    assert explain(base, base) == (ObstacleKind.NOT_MOUNTED, str(base))


def test_empty_base_looks_like_a_mount_point(tmp_path: Path) -> None:
    base = tmp_path / "disk"
    base.mkdir()
    assert explain(base / "loras", base) == (ObstacleKind.NOT_MOUNTED, str(base))
    assert explain(base, base) == (ObstacleKind.NOT_MOUNTED, str(base))
    put(base / "readme.txt")
    assert explain(base / "loras", base) is None
    assert explain(base, base) is None


def test_empty_disk_that_is_mounted_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "ismount", lambda path: path == str(tmp_path))
    assert explain(tmp_path / "loras", tmp_path) is None


def test_broken_link_on_the_way_may_lead_to_another_disk(tmp_path: Path) -> None:
    link = tmp_path / "models"
    link.symlink_to(tmp_path / "mnt/models")
    assert explain(link / "loras", tmp_path) == (ObstacleKind.BROKEN_LINK, str(link))
    assert explain(link) == (ObstacleKind.BROKEN_LINK, str(link))


def test_link_to_a_folder_is_like_the_folder(tmp_path: Path) -> None:
    put(tmp_path / "disk/other/a.pt")
    link = tmp_path / "models"
    link.symlink_to(tmp_path / "disk")
    assert explain(link / "loras", link) is None


def test_file_in_the_place_of_a_folder_is_no_obstacle(tmp_path: Path) -> None:
    put(tmp_path / "loras")
    assert explain(tmp_path / "loras", tmp_path / "loras") is None
    assert explain(tmp_path / "loras/sub", tmp_path) is None


@pytest.mark.parametrize("error", [errno.EACCES, errno.EIO, errno.ENOTCONN, errno.ESTALE])
def test_folder_that_cannot_be_examined_names_the_closed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    close_paths(monkeypatch, tmp_path / "disk/a", tmp_path / "disk/a/b", error=error, calls=("lstat", "stat"))
    (tmp_path / "disk").mkdir()
    obstacle = explain_missing_folder(str(tmp_path / "disk/a/b"), str(tmp_path))
    assert obstacle == Obstacle(ObstacleKind.UNREADABLE, str(tmp_path / "disk"), os.strerror(error))


def test_base_that_cannot_be_listed_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    close_paths(monkeypatch, tmp_path)
    assert explain(tmp_path / "loras", tmp_path) == (ObstacleKind.UNREADABLE, str(tmp_path))


def test_link_that_cannot_be_followed_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "disk").mkdir()
    link = tmp_path / "loras"
    link.symlink_to(tmp_path / "disk/loras")
    close_paths(monkeypatch, link, calls=("stat",))
    assert explain(link) == (ObstacleKind.UNREADABLE, str(tmp_path / "disk"))


def test_target_is_absent_only_from_a_folder_that_can_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "a.pt"
    link.symlink_to(tmp_path / "disk/a.pt")
    assert explain_missing_target(str(link)) == Obstacle(
        ObstacleKind.BROKEN_LINK, str(link), str(tmp_path / "disk/a.pt")
    )
    (tmp_path / "disk").mkdir()
    assert explain_missing_target(str(link)) is None
    assert explain_missing_target(str(link), [str(tmp_path / "disk")]) == Obstacle(
        ObstacleKind.NOT_MOUNTED, str(tmp_path / "disk"), "/etc/fstab names it"
    )
    close_paths(monkeypatch, tmp_path / "disk")
    assert explain_missing_target(str(link)) == Obstacle(ObstacleKind.UNREADABLE, str(tmp_path / "disk"), DENIED)


def test_chain_of_links_is_followed_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "first.pt").symlink_to("second.pt")
    (tmp_path / "second.pt").symlink_to(tmp_path / "mnt/far.pt")
    obstacle = explain_missing_target(str(tmp_path / "first.pt"))
    assert obstacle is not None
    assert obstacle.detail == str(tmp_path / "mnt/far.pt")


def test_file_in_the_place_of_the_targets_folder_proves_its_absence(tmp_path: Path) -> None:
    put(tmp_path / "disk")
    (tmp_path / "a.pt").symlink_to(tmp_path / "disk/a.pt")
    assert explain_missing_target(str(tmp_path / "a.pt")) is None


def test_error_of_a_path_without_any_folder_names_the_root() -> None:
    assert explain_error("\0", OSError(errno.EIO, "Input/output error")).path == ""


def test_mount_points_without_their_disks_are_listed(tmp_path: Path) -> None:
    fstab = put(
        tmp_path / "fstab",
        b"# /dev/sdz1 /mnt/comment ext4\n\nUUID=1 / ext4 defaults 0 1\n/dev/sda2 none swap sw 0 0\n"
        b"server:/models /mnt/absent\\040disk/ nfs defaults 0 0\nbroken\n",
    )
    assert list_unmounted(fstab) == ("/mnt/absent disk",)
    assert list_unmounted(tmp_path / "none") == ()


@pytest.mark.parametrize("kind", list(ObstacleKind))
def test_each_obstacle_says_what_to_do(kind: ObstacleKind) -> None:
    obstacle = Obstacle(kind, "/disk/models", "Do this.")
    assert describe_remedy(obstacle).endswith(".")
    assert describe_problem(obstacle)
    is_configuration = kind is ObstacleKind.CONFIGURATION
    assert ("/disk/models could not be looked at. " in describe_obstacle(obstacle)) is not is_configuration


def test_folder_that_cannot_be_reached_is_told_from_an_absent_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to("/nowhere/at/all")
    put(tmp_path / "file")
    for name in (".", "absent", "file/below"):
        assert explain_unreachable(str(tmp_path / name)) is None
    assert explain_unreachable("\0") is None
    for name in ("link", "link/below"):
        obstacle = explain_unreachable(str(tmp_path / name))
        assert obstacle is not None
        assert (obstacle.kind, obstacle.path) == (ObstacleKind.BROKEN_LINK, str(tmp_path / "link"))
    close_paths(monkeypatch, tmp_path)
    assert explain_unreachable(str(tmp_path)) == Obstacle(ObstacleKind.UNREADABLE, str(tmp_path), DENIED)
