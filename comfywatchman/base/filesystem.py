"""Filesystem calls that Python lacks: renames that never replace, creation times, flushing, reflinks, network types."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

_FICLONE: Final = 0x40049409
"""ioctl_ficlonerange(2): make one file share the blocks of another, copied when either is written."""

_RENAME_NOREPLACE: Final = 1
_RENAME_UNSUPPORTED: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP})

_AT_FDCWD: Final = -100
_STATX_BTIME: Final = 0x800
_STATX_BYTES: Final = 256
_STATX_MASK_OFFSET: Final = 0
_STATX_BTIME_OFFSET: Final = 0x50
"""Layout of `struct statx` (statx(2)), the same on every architecture."""

_STATFS_BYTES: Final = 512
_OVERLAYFS_SUPER_MAGIC: Final = 0x794C7630
"""From statfs(2), whose first field is the type."""

_NETWORK_TYPES: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "lustre", "glusterfs", "afs"})


def rename_without_replacing(source: str, target: str, *, folder: int, target_folder: int | None = None) -> None:
    """Rename a file in one step, unless the new name is taken.

    Linux does this with renameat2(RENAME_NOREPLACE). On filesystems without it (NFS, some of FUSE) a hard link is
    created and the old name deleted, so that a crash in between leaves both names, never none.

    Args:
        source: Name in the folder.
        target: New name.
        folder: Descriptor of the folder.
        target_folder: Descriptor of the folder of the new name, on the same filesystem; None for the same folder.

    Raises:
        FileExistsError: The new name is taken by a file, folder or link.
        OSError: The filesystem supports neither, or another error occurred.
    """
    if target_folder is None:
        target_folder = folder
    rename = _load_renameat2()
    if rename is not None:
        try:
            rename(folder, source, target_folder, target)
        except OSError as error:
            if error.errno not in _RENAME_UNSUPPORTED:
                raise
        else:
            return
    os.link(source, target, src_dir_fd=folder, dst_dir_fd=target_folder, follow_symlinks=False)
    os.unlink(source, dir_fd=folder)


@contextmanager
def open_below(directory: Path, names: Iterable[str], *, create: bool) -> Iterator[int]:
    """Open a folder below a directory without following links below it, and yield its descriptor.

    Args:
        directory: The directory; it may be a link.
        names: The names of the folders below it, from the outside in.
        create: Whether missing folders are created.

    Raises:
        OSError: ELOOP or ENOTDIR for a link or a file among them, or another error. Its `filename` is the folder.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    path = directory
    for name in names:
        path /= name
        descriptor = _open_subfolder(descriptor, name, path, create=create)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open_subfolder(descriptor: int, name: str, path: Path, *, create: bool) -> int:
    """Open a subfolder and close the descriptor of its parent."""
    try:
        if create:
            with suppress(FileExistsError):
                os.mkdir(name, dir_fd=descriptor)
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=descriptor)
    except OSError as error:
        error.filename = os.fspath(path)
        raise
    finally:
        os.close(descriptor)


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


def read_creation_time_ns(path: Path) -> int | None:
    """Return when a file or folder was created, in nanoseconds; None where the filesystem does not keep that time.

    Overlay filesystems (the layers of containers) do not: the time changes with the first write to a folder.

    Raises:
        OSError: It cannot be examined.
    """
    # os.stat has no creation time on Linux.
    libc = ctypes.CDLL(None, use_errno=True)
    statx: Any = getattr(libc, "statx", None)
    if statx is None or _is_overlay(libc, path):
        return None
    buffer = ctypes.create_string_buffer(_STATX_BYTES)
    if statx(_AT_FDCWD, os.fsencode(path), 0, _STATX_BTIME, buffer):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    (mask,) = struct.unpack_from("=I", buffer, _STATX_MASK_OFFSET)
    if not mask & _STATX_BTIME:
        return None
    seconds, nanoseconds = struct.unpack_from("=qI", buffer, _STATX_BTIME_OFFSET)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def _is_overlay(libc: Any, path: Path) -> bool:
    buffer = ctypes.create_string_buffer(_STATFS_BYTES)
    if libc.statfs(os.fsencode(path), buffer):
        return False
    (kind,) = struct.unpack_from("=q", buffer)
    return bool(kind == _OVERLAYFS_SUPER_MAGIC)


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
