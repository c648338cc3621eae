"""Tell a file or folder that does not exist from one that cannot be read: no permission, unmounted disk (fstab)."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.files import printable_path
from comfywatchman.base.text import os_error_text

FSTAB: Final = Path("/etc/fstab")
NO_SUCH_TARGET: Final = frozenset({errno.ENOENT, errno.ENOTDIR})
"""Errors of a path that does not exist, or of a link to one."""

IMPOSSIBLE_TARGET: Final = frozenset({errno.ELOOP, errno.ENAMETOOLONG})
"""Errors that prove that a link leads nowhere, whatever is mounted."""

_MAX_FSTAB_BYTES: Final = 1 << 20


class ObstacleKind(StrEnum):
    """Why something could not be looked at."""

    UNREADABLE = "unreadable"
    """No permission, or an error of the disk or network."""
    NOT_MOUNTED = "not_mounted"
    """A configured folder is not there or empty, as when its disk is not mounted."""
    BROKEN_LINK = "broken_link"
    """A link leads to a place that does not exist."""
    TOO_MANY_FOLDERS = "too_many_folders"
    """Not all folders were listed."""
    FOLDER_NOT_KNOWN = "folder_not_known"
    """This ComfyUI has no model folder of this name."""
    CONFIGURATION = "configuration"
    """A faulty file hides which folders ComfyUI reads."""


class Obstacle(msgspec.Struct, frozen=True):
    """Why a model could not be looked for.

    Attributes:
        kind: What stops it.
        path: The path to mount, permit or repair, printable.
        detail: One further fact for people: the system's error, the target of a link, what to repair.
    """

    kind: ObstacleKind
    path: str
    detail: str = ""


def describe_remedy(obstacle: Obstacle) -> str:
    """Describe what to do with the path of an obstacle, as a sentence."""
    detail = obstacle.detail
    match obstacle.kind:
        case ObstacleKind.UNREADABLE:
            return f"Permit this user to read it, or mount its disk again ({detail})."
        case ObstacleKind.NOT_MOUNTED:
            return f"Mount its disk ({detail}); if it is gone for good, take it out of the configuration that names it."
        case ObstacleKind.BROKEN_LINK:
            return f"Mount the disk of {detail}, where this link leads, or point the link elsewhere."
        case ObstacleKind.TOO_MANY_FOLDERS:
            return f"Take out links that multiply folders ({detail})."
        case ObstacleKind.FOLDER_NOT_KNOWN:
            return "This ComfyUI has no model folder of this name: install the pack or the version that adds it."
        case ObstacleKind.CONFIGURATION:
            return detail


def describe_obstacle(obstacle: Obstacle) -> str:
    """Describe an obstacle with its path and what to do."""
    if obstacle.kind is ObstacleKind.CONFIGURATION:
        return obstacle.detail
    return f"{obstacle.path} could not be looked at. {describe_remedy(obstacle)}"


def describe_problem(obstacle: Obstacle) -> str:
    """Describe an obstacle as a text that follows its path."""
    match obstacle.kind:
        case ObstacleKind.UNREADABLE:
            return f"cannot be listed: {obstacle.detail}"
        case ObstacleKind.NOT_MOUNTED:
            return f"seems not to be mounted: {obstacle.detail}"
        case ObstacleKind.BROKEN_LINK:
            return f"is a link to {obstacle.detail}, which does not exist"
        case _:
            return obstacle.detail


def explain_error(path: str, error: OSError) -> Obstacle:
    """Return the obstacle for a failed system call; its path is the outermost one that is closed."""
    while True:
        try:
            os.lstat(path)
        except (OSError, ValueError):
            parent = os.path.dirname(path)
            if parent == path:
                break
            path = parent
        else:
            break
    return Obstacle(ObstacleKind.UNREADABLE, printable_path(path), os_error_text(error))


def explain_entry(entry: os.DirEntry[str]) -> Obstacle | None:
    """Return why an entry of a listed folder could not be looked at; None for one that could, or that was deleted."""
    try:
        entry.stat()
    except OSError as error:
        if error.errno in IMPOSSIBLE_TARGET:
            return None
        if error.errno not in NO_SUCH_TARGET:
            return explain_error(entry.path, error)
        return build_link_obstacle(entry.path) if entry.is_symlink() else None
    return None


def explain_missing_folder(directory: str, base: str | None) -> Obstacle | None:
    """Return why a folder that does not exist, or is empty, may hold files after all; None when it is surely so.

    Args:
        directory: Absolute, normalised path of the folder.
        base: The configured folder that it lies in, which is known to hold something; the folder itself when nothing
            else is known, None when the folder need not exist.
    """
    nearest = directory
    while True:
        try:
            status = os.lstat(nearest)
            break
        except (FileNotFoundError, NotADirectoryError):
            nearest = os.path.dirname(nearest)
        except OSError as error:
            return explain_error(nearest, error)
    if stat.S_ISLNK(status.st_mode):
        obstacle = _explain_folder_link(nearest)
        if obstacle is not None:
            return obstacle
    if base is None:
        return None
    if len(base) > len(nearest):
        return Obstacle(ObstacleKind.NOT_MOUNTED, printable_path(base), "it does not exist")
    if base == nearest and not os.path.ismount(nearest):
        return _explain_empty_base(nearest)
    return None


def explain_unreachable(folder: str) -> Obstacle | None:
    """Return why a folder cannot be listed although it may exist; None when it can, or surely does not exist."""
    try:
        os.scandir(folder).close()
    except (FileNotFoundError, NotADirectoryError):
        obstacle = find_mount_obstacle(os.path.realpath(folder), list_unmounted())
        return obstacle or explain_missing_folder(os.path.abspath(folder), None)
    except OSError as error:
        return explain_error(folder, error)
    except ValueError:
        return None  # no path can hold a NUL byte
    return None


def explain_missing_target(link: str, unmounted: Iterable[str] = ()) -> Obstacle | None:
    """Return why the target of a broken link may exist after all; None when its folder can be listed without it.

    Args:
        link: Path of a link whose target was not found.
        unmounted: Mount points without their disks, from `list_unmounted`.
    """
    target = os.path.realpath(link)
    obstacle = find_mount_obstacle(target, unmounted)
    if obstacle is not None:
        return obstacle
    folder = os.path.dirname(target)
    try:
        os.scandir(folder).close()
    except FileNotFoundError:
        return build_link_obstacle(link)
    except NotADirectoryError:
        return None  # a file is in the place of the folder
    except OSError as error:
        return explain_error(folder, error)
    return None


def list_unmounted(fstab: Path = FSTAB) -> tuple[str, ...]:
    """Return the mount points of fstab(5) without their disks; none when the file cannot be read."""
    try:
        with open(fstab, "rb") as file:
            lines = os.fsdecode(file.read(_MAX_FSTAB_BYTES)).splitlines()
    except OSError:
        return ()
    mount_points = []
    for line in lines:
        _device, mount_point, *_options = [*line.split(), "", ""]
        # Swap has `none` in the place of a mount point.
        if line.lstrip().startswith("#") or not mount_point.startswith("/"):
            continue
        mount_point = os.path.normpath(_unescape(mount_point))
        if not os.path.ismount(mount_point):
            mount_points.append(mount_point)
    return tuple(mount_points)


def find_mount_obstacle(path: str, unmounted: Iterable[str]) -> Obstacle | None:
    """Return the obstacle for a path at or below a mount point without its disk; None for any other path."""
    for mount_point in unmounted:
        if path == mount_point or path.startswith(f"{mount_point}/"):
            return build_mount_obstacle(mount_point)
    return None


def build_mount_obstacle(mount_point: str) -> Obstacle:
    """Return the obstacle for a mount point without its disk."""
    return Obstacle(ObstacleKind.NOT_MOUNTED, printable_path(mount_point), f"{FSTAB} names it")


def build_link_obstacle(link: str) -> Obstacle:
    """Return the obstacle for a link whose target cannot be reached."""
    return Obstacle(ObstacleKind.BROKEN_LINK, printable_path(link), printable_path(os.path.realpath(link)))


def _explain_folder_link(link: str) -> Obstacle | None:
    try:
        os.stat(link)
    except FileNotFoundError:
        return build_link_obstacle(link)
    except OSError as error:
        return explain_error(os.path.realpath(link), error)
    return None


def _explain_empty_base(base: str) -> Obstacle | None:
    try:
        with os.scandir(base) as items:
            is_empty = next(items, None) is None
    except NotADirectoryError:
        return None
    except OSError as error:
        return explain_error(base, error)
    return Obstacle(ObstacleKind.NOT_MOUNTED, printable_path(base), "it is empty") if is_empty else None


def _unescape(field: str) -> str:
    r"""Return a field of fstab(5) with its octal escapes (`\040` is a space) replaced."""
    for escape, char in ((r"\040", " "), (r"\011", "\t"), (r"\134", "\\")):
        field = field.replace(escape, char)
    return field
