"""One name in a model folder, as far as its directory and `stat` describe it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from comfywatchman.base.files import printable_path
from comfywatchman.comfyui.install.reachability import (
    IMPOSSIBLE_TARGET,
    NO_SUCH_TARGET,
    Obstacle,
    ObstacleKind,
    explain_error,
    explain_missing_target,
)

EntryProblemCode = Literal["unreadable", "link-broken", "not-regular", "unfinished"]

UNREADABLE: Final = "unreadable"
"""Problem code of a name that could not be looked at: a missing permission, a link to a disk that is not mounted."""

LINK_BROKEN: Final = "link-broken"
"""Problem code of a link to a file that does not exist: the folder that it leads to was looked at."""

NOT_REGULAR: Final = "not-regular"
"""Problem code of a FIFO, socket or device."""

UNFINISHED: Final = "unfinished"
"""Problem code of a file that aria2 is still downloading."""

_READABLE_BY_ALL: Final = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH


class ModelEntry(msgspec.Struct, frozen=True, gc=False):
    """One name in a model folder.

    Attributes:
        name: Relative to the directory, with `/`, as ComfyUI lists it.
        path: Absolute path; symbolic links are not resolved.
        size: Size in bytes of the link's target.
        mtime_ns: Modification time of the link's target.
        device: `st_dev`.
        inode: `st_ino`.
        problem: Why the file cannot be used, for people; None for a regular file that is complete.
        problem_code: Set together with `problem`.
        obstacle: Why it could not be looked at; only for `unreadable`.
    """

    name: str
    path: str
    size: int
    mtime_ns: int
    device: int
    inode: int
    problem: str | None = None
    problem_code: EntryProblemCode | None = None
    obstacle: Obstacle | None = None


def read_entry(item: os.DirEntry[str], name: str, unmounted: Sequence[str]) -> ModelEntry | None:
    """Return the entry of a file; None for one that was deleted during the scan.

    Args:
        item: The file.
        name: Its name relative to the directory.
        unmounted: Mount points without their disks.
    """
    try:
        status = item.stat()
    except OSError as error:
        return _read_inaccessible_entry(item, name, error, unmounted)
    problem: str | None = None
    code: EntryProblemCode | None = None
    obstacle: Obstacle | None = None
    if not stat.S_ISREG(status.st_mode):
        problem, code = "not a regular file", NOT_REGULAR
    # Most models can be read by everybody, which saves the system call.
    elif status.st_mode & _READABLE_BY_ALL != _READABLE_BY_ALL and not os.access(item.path, os.R_OK):
        problem, code = "cannot be read: Permission denied", UNREADABLE
        obstacle = Obstacle(ObstacleKind.UNREADABLE, printable_path(item.path), os.strerror(errno.EACCES))
    return ModelEntry(
        name, item.path, status.st_size, status.st_mtime_ns, status.st_dev, status.st_ino, problem, code, obstacle
    )


def _read_inaccessible_entry(
    item: os.DirEntry[str], name: str, error: OSError, unmounted: Sequence[str]
) -> ModelEntry | None:
    if not item.is_symlink():
        if error.errno in NO_SUCH_TARGET:
            return None
        obstacle: Obstacle | None = explain_error(item.path, error)
    elif error.errno in NO_SUCH_TARGET:
        obstacle = explain_missing_target(item.path, unmounted)
    elif error.errno in IMPOSSIBLE_TARGET:
        obstacle = None
    else:
        obstacle = explain_error(os.path.realpath(item.path), error)
    if obstacle is None:
        try:
            target = os.readlink(item.path)
        except OSError:
            return None
        problem = f"a link to {printable_path(target)}, which does not exist"
        return ModelEntry(name, item.path, 0, 0, 0, 0, problem, LINK_BROKEN)
    problem = f"cannot be looked at: {error.strerror}"
    return ModelEntry(name, item.path, 0, 0, 0, 0, problem, UNREADABLE, obstacle)


def is_skipped(entry: ModelEntry) -> bool:
    """Return whether `os.path.isfile`, by which ComfyUI takes the first file of a name, is false for an entry."""
    if entry.problem_code == UNREADABLE:
        # One whose permissions forbid reading is a file; for the others not even the system call succeeds.
        return entry.inode == 0
    return entry.problem_code in {LINK_BROKEN, NOT_REGULAR}
