"""What the filesystem of a folder can do, and making all of it durable at once."""

from __future__ import annotations

import ctypes
import fcntl
import os
import tempfile
from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular

_FICLONE: Final = 0x40049409
"""ioctl_ficlonerange(2): make one file share the blocks of another, copied when either is written."""

_NETWORK_TYPES: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "lustre", "glusterfs", "afs"})
_MAX_MOUNTS_BYTES: Final = 16 << 20


def can_reflink(folder: Path) -> bool:
    """Say whether files in a folder can share blocks until one is written (btrfs, XFS, bcachefs); tries it once."""
    try:
        with tempfile.TemporaryFile(dir=folder) as source, tempfile.TemporaryFile(dir=folder) as copy:
            source.write(b"x" * 4096)
            source.flush()
            fcntl.ioctl(copy.fileno(), _FICLONE, source.fileno())
    except OSError:
        return False
    return True


def sync_filesystem(folder: Path) -> None:
    """Make everything that was written below a folder survive a power cut, with one call for any number of files.

    Raises:
        OSError: The system could not write it all.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), folder)
    finally:
        os.close(descriptor)


def find_network_filesystem(folder: Path) -> str | None:
    """Return the type of a network filesystem that a folder is on (`nfs4`, `fuse.sshfs`); None on a local one.

    File locks may do nothing there, or only on one machine.
    """
    try:
        lines = read_regular(Path("/proc/self/mounts"), max_bytes=_MAX_MOUNTS_BYTES).decode("utf-8", "replace")
    except Failure:
        return None
    return parse_network_filesystem(lines, folder.resolve())


def parse_network_filesystem(mounts: str, folder: Path) -> str | None:
    """Find the answer of `network_type` in the text of /proc/mounts (fields as proc(5) says)."""
    best, kind = Path("/"), ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:  # noqa: PLR2004 - device, place, type
            continue
        place = Path(fields[1].replace("\\040", " "))
        if folder.is_relative_to(place) and len(place.parts) >= len(best.parts):
            best, kind = place, fields[2]
    return kind if kind in _NETWORK_TYPES or kind.startswith("fuse.") else None
