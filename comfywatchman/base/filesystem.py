"""Filesystem calls that Python lacks: renames that never replace, flushing, reflinks, network filesystems."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import tempfile
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, Final

_FICLONE: Final = 0x40049409
"""ioctl_ficlonerange(2): make one file share the blocks of another, copied when either is written."""

_RENAME_NOREPLACE: Final = 1
_RENAME_UNSUPPORTED: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP})

_NETWORK_TYPES: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "lustre", "glusterfs", "afs"})


def rename_without_replacing(source: str, target: str, *, folder: int) -> None:
    """Rename a file within a folder in one step, unless the new name is taken.

    Linux does this with renameat2(RENAME_NOREPLACE). On filesystems without it (NFS, some of FUSE) a hard link is
    created and the old name deleted, so that a crash in between leaves both names, never none.

    Args:
        source: Name in the folder.
        target: New name in the folder.
        folder: Descriptor of the folder.

    Raises:
        FileExistsError: The new name is taken by a file, folder or link.
        OSError: The filesystem supports neither, or another error occurred.
    """
    rename = _load_renameat2()
    if rename is not None:
        try:
            rename(folder, source, folder, target)
        except OSError as error:
            if error.errno not in _RENAME_UNSUPPORTED:
                raise
        else:
            return
    os.link(source, target, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    os.unlink(source, dir_fd=folder)


def can_reflink(folder: Path) -> bool:
    """Return whether files in a folder can share blocks until one is written (btrfs, XFS, bcachefs), by trying it."""
    try:
        with tempfile.TemporaryFile(dir=folder) as source, tempfile.TemporaryFile(dir=folder) as copy:
            # An empty file can be cloned even where blocks cannot be shared.
            source.write(b"x" * 4096)
            source.flush()
            fcntl.ioctl(copy.fileno(), _FICLONE, source.fileno())
    except OSError:
        return False
    return True


def sync_filesystem(folder: Path) -> None:
    """Flush everything written to a folder's filesystem (syncfs(2)): one call for any number of files.

    Raises:
        OSError: The system could not write it all.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # The os module has no syncfs; sync(2) would flush every other disk as well.
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), folder)
    finally:
        os.close(descriptor)


def find_network_filesystem(folder: Path) -> str | None:
    """Return the type of the network filesystem that a folder is on (`nfs4`, `fuse.sshfs`); None for a local one.

    File locks may do nothing on it, or apply to one machine only.
    """
    import psutil

    try:
        partitions = psutil.disk_partitions(all=True)
    except OSError:
        return None
    mounts = [(partition.mountpoint, partition.fstype) for partition in partitions]
    return select_network_filesystem(mounts, folder.resolve())


def select_network_filesystem(mounts: Iterable[tuple[str, str]], folder: Path) -> str | None:
    """Return the type of the innermost mount that holds a folder when that is a network filesystem, else None.

    Args:
        mounts: Mount point and filesystem type of each mount, in the order they were mounted.
        folder: An absolute path without links.
    """
    innermost, filesystem_type = Path("/"), ""
    for mount_point, mounted_type in mounts:
        mount = Path(mount_point)
        # At equal depth the later one wins: it is mounted over the earlier one.
        if folder.is_relative_to(mount) and len(mount.parts) >= len(innermost.parts):
            innermost, filesystem_type = mount, mounted_type
    if filesystem_type in _NETWORK_TYPES or filesystem_type.startswith("fuse."):
        return filesystem_type
    return None


@cache
def _load_renameat2() -> Callable[[int, str, int, str], None] | None:
    # The os module has no renameat2. C libraries before glibc 2.28 lack it, too.
    function: Any = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)

    def rename(from_folder: int, source: str, to_folder: int, target: str) -> None:
        if function(from_folder, os.fsencode(source), to_folder, os.fsencode(target), _RENAME_NOREPLACE):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), target)

    return rename
