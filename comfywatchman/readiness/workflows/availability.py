"""Tell workflow files that were deleted from those that cannot be looked at: an unmounted disk, no permission."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path
from comfywatchman.comfyui.install.reachability import (
    Obstacle,
    ObstacleKind,
    build_link_obstacle,
    explain_error,
    explain_missing_folder,
)
from comfywatchman.readiness.workflows.discovery import WatchedRoot, WorkflowListing, explain_unread


def explain_absence(
    path: str, roots: Iterable[WatchedRoot], listing: WorkflowListing, *, device: int | None = None
) -> Obstacle | None:
    """Return why a known file that a walk did not list may still exist; None when it is gone.

    A file is gone when its folder was listed without it. It is not when its root or folder is missing or could not be
    listed, when a link on its way is broken, or when an empty folder is left of a mounted disk. A path under no root is
    gone, and so is one that exists but was not listed (it became a folder, or its suffix is not watched).

    Args:
        path: Absolute path as the walk gave it.
        roots: The watched roots.
        listing: The result of the walk.
        device: The device that the file was on, if known.
    """
    root = next((root.path for root in roots if Path(path).is_relative_to(root.path)), None)
    if root is None:
        return None
    for gap in listing.gaps:
        if gap.covers(path):
            return gap.obstacle
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        if os.path.islink(path):
            return build_link_obstacle(path)
        return _explain_missing_file(Path(path), root, device)
    except OSError as error:
        return explain_error(path, error)
    # It exists but was not listed: either it is not a workflow any more, or its folder could not be listed.
    return _explain_folder(Path(path).parent)


def explain_unread_file(path: str, failure: Failure | None) -> Obstacle:
    """Return the obstacle for a listed file that could not be opened.

    Args:
        path: The file.
        failure: Why.
    """
    cause = failure.__cause__ if failure is not None else None
    if isinstance(cause, OSError):
        return explain_unread(path, cause)
    detail = failure.message.rstrip(".") if failure is not None else "it cannot be read"
    return Obstacle(ObstacleKind.UNREADABLE, printable_path(path), detail)


def _explain_missing_file(path: Path, root: Path, device: int | None) -> Obstacle | None:
    """Return what the nearest existing folder above a missing path leaves open; None when it was deleted."""
    for folder in path.parents:
        if os.path.lexists(folder):
            return _explain_folder(folder) or _explain_mount_point(folder, device)
        # When the root itself is missing, nothing shows whether the file was deleted or its disk is unmounted.
        if root in (path, folder):
            break
    return explain_missing_folder(os.fspath(root), os.fspath(root))


def _explain_folder(folder: Path) -> Obstacle | None:
    """Return why a folder cannot be listed; None when it can."""
    try:
        os.scandir(folder).close()
    except NotADirectoryError:
        # A file took the place of the folder, so what was in it is gone.
        return None
    except OSError as error:
        return explain_unread(os.fspath(folder), error)
    return None


def _explain_mount_point(folder: Path, device: int | None) -> Obstacle | None:
    """Return the obstacle for a folder that is the empty mount point of the disk that had this device number."""
    if device is None or not os.path.isdir(folder):
        return None
    # A new disk may be mounted here; then its content counts, even when it is empty.
    if folder.stat().st_dev == device or os.path.ismount(folder):
        return None
    with os.scandir(folder) as items:
        if next(items, None) is not None:
            return None
    return Obstacle(ObstacleKind.NOT_MOUNTED, printable_path(folder), "it is empty")
