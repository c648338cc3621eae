from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.base.filesystem import (
    can_reflink,
    find_network_filesystem,
    parse_network_filesystem,
    sync_filesystem,
)

MOUNTS = """\
/dev/vda / ext4 rw 0 0
proc /proc proc rw 0 0
server:/srv /srv/share nfs4 rw 0 0
me@host:/x /home/me/far\\040away fuse.sshfs rw 0 0
/dev/vdb /srv/share/local xfs rw 0 0
broken
"""


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
    ],
)
def test_a_network_filesystem_is_known_by_its_nearest_mount(folder: str, kind: str | None) -> None:
    assert parse_network_filesystem(MOUNTS, Path(folder)) == kind


def test_this_machines_mounts_can_be_asked(tmp_path: Path) -> None:
    assert find_network_filesystem(tmp_path) is None or isinstance(find_network_filesystem(tmp_path), str)


def test_a_folder_that_is_not_there_clones_nothing(tmp_path: Path) -> None:
    assert can_reflink(tmp_path / "nothing") is False
    assert can_reflink(tmp_path) in {True, False}
    assert list(tmp_path.iterdir()) == []


def test_everything_written_below_a_folder_is_made_durable(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    sync_filesystem(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync_filesystem(tmp_path / "nothing")
