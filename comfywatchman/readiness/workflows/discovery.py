"""Find the workflow files in the watched workflow folders (roots), and the places that could not be looked at."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from comfywatchman.base.files import is_folder, printable_path
from comfywatchman.base.text import os_error_text
from comfywatchman.comfyui.install.reachability import (
    IMPOSSIBLE_TARGET,
    Obstacle,
    ObstacleKind,
    build_link_obstacle,
    build_mount_obstacle,
    explain_error,
    explain_missing_folder,
    list_unmounted,
)

SKIPPED_FOLDERS: Final = frozenset({".git", "__pycache__", "node_modules", ".venv"})

_FolderIdentity = tuple[int, int]
"""Device and inode of a folder."""


@dataclass(frozen=True, slots=True)
class WatchedRoot:
    """A watched folder or file, and the label that its workflows have as intake source."""

    path: Path
    label: str


@dataclass(frozen=True, slots=True)
class WorkflowFile:
    """One candidate file, as its directory lists it.

    Attributes:
        path: Absolute path; bytes that are not UTF-8 are surrogate escapes.
        source: Label of its root.
        size: Size in bytes.
        mtime_ns: Modification time in nanoseconds.
        device: Device number.
        inode: Inode number.
    """

    path: str
    source: str
    size: int
    mtime_ns: int
    device: int
    inode: int

    @property
    def signature(self) -> tuple[int, int, int, int]:
        """Values that change when the file is written or replaced."""
        return self.device, self.inode, self.size, self.mtime_ns


@dataclass(frozen=True, slots=True)
class WorkflowGap:
    """A file or folder that could not be looked at: what is there is unknown.

    Attributes:
        path: Absolute path.
        source: Label of its root.
        obstacle: Why.
        is_file: Whether it is one candidate file; otherwise everything below it is unknown.
        is_certain: Whether something was certainly not read; otherwise the gap only matters for known workflows.
    """

    path: str
    source: str
    obstacle: Obstacle
    is_file: bool = False
    is_certain: bool = True

    def covers(self, path: str) -> bool:
        """Return whether a path is this file, or lies below this folder."""
        return path == self.path if self.is_file else path.startswith(f"{self.path}/")


@dataclass(frozen=True, slots=True)
class WorkflowListing:
    """Result of a walk over the roots.

    Attributes:
        files: Every candidate file, in path order.
        problems: The problems met: path and reason.
        gaps: What could not be looked at.
    """

    files: tuple[WorkflowFile, ...]
    problems: tuple[tuple[str, str], ...]
    gaps: tuple[WorkflowGap, ...] = ()


_MAX_LINKED_FOLDERS: Final = 5000
"""Most folders behind links that one walk enters."""


class _WorkflowWalk:
    """Collects the files, problems and gaps of one walk over the roots."""

    def __init__(self, suffixes: frozenset[str]) -> None:
        self.files: dict[str, WorkflowFile] = {}
        self.problems: list[tuple[str, str]] = []
        self.gaps: list[WorkflowGap] = []
        self._suffixes = suffixes
        self._kernel_devices = _list_kernel_devices()
        self._linked_folders = 0

    def add_root(self, root: WatchedRoot) -> None:
        path = os.fspath(root.path)
        try:
            status = os.stat(path)
        except (OSError, ValueError) as error:
            self._add_problem(path, f"workflow root cannot be read: {os_error_text(error)}")
            self.gaps.append(WorkflowGap(path, root.label, _explain_root(path, error)))
            return
        if stat.S_ISDIR(status.st_mode):
            self._add_folder(path, root.label, {(status.st_dev, status.st_ino)})
        else:
            self._add_file(path, status, root.label)

    def add_unmounted(self, root: WatchedRoot, mount_points: Iterable[str]) -> None:
        """Add gaps for disks of the root that are not mounted."""
        path = os.fspath(root.path)
        resolved = os.path.realpath(path)
        for mount_point in mount_points:
            folder = None
            if resolved == mount_point or resolved.startswith(f"{mount_point}/"):
                folder = path
            elif mount_point.startswith(f"{resolved}/"):
                folder = os.path.join(path, mount_point[len(resolved) + 1 :])
            if folder is not None:
                # Where files were listed, the folder itself may be meant to hold them.
                is_empty = not any(name.startswith(f"{folder}/") for name in self.files)
                obstacle = build_mount_obstacle(mount_point)
                self.gaps.append(WorkflowGap(folder, root.label, obstacle, is_certain=is_empty))

    def _add_folder(self, folder: str, label: str, ancestors: set[_FolderIdentity], *, is_linked: bool = False) -> None:
        try:
            with os.scandir(folder) as scan:
                items = list(scan)
        except OSError as error:
            self._add_folder_gap(folder, label, error)
            return
        for item in items:
            if is_folder(item):
                self._add_subfolder(item, label, ancestors, is_linked=is_linked)
            elif os.path.splitext(item.name)[1].lower() in self._suffixes and not item.name.startswith("."):
                self._add_item(item, label)
            else:
                self._add_unclear_link(item, label)

    def _add_subfolder(
        self, item: os.DirEntry[str], label: str, ancestors: set[_FolderIdentity], *, is_linked: bool
    ) -> None:
        if item.name in SKIPPED_FOLDERS:
            return
        try:
            status = item.stat()
        except OSError as error:
            self._add_folder_gap(item.path, label, error)
            return
        identity = (status.st_dev, status.st_ino)
        if identity in ancestors:
            self._add_problem(item.path, "folder is a link to one that contains it; not entered again")
            return
        if status.st_dev in self._kernel_devices:
            # Every process shows the root of the file system below /proc, so a walk would never end.
            self._add_problem(item.path, "folder is a view of the kernel, not of a disk; not entered")
            return
        if not self._may_enter(item, label, is_linked=is_linked or item.is_symlink()):
            return
        self._add_folder(item.path, label, ancestors | {identity}, is_linked=is_linked or item.is_symlink())

    def _may_enter(self, item: os.DirEntry[str], label: str, *, is_linked: bool) -> bool:
        """Return whether a folder is entered: links to folders that hold links can multiply without end."""
        self._linked_folders += is_linked
        if self._linked_folders <= _MAX_LINKED_FOLDERS:
            return True
        if self._linked_folders == _MAX_LINKED_FOLDERS + 1:
            detail = f"more than {_MAX_LINKED_FOLDERS:,} folders behind links"
            self._add_problem(item.path, f"{detail}; those after it are not entered")
            obstacle = Obstacle(ObstacleKind.TOO_MANY_FOLDERS, printable_path(item.path), detail)
            self.gaps.append(WorkflowGap(item.path, label, obstacle))
        return not is_linked

    def _add_item(self, item: os.DirEntry[str], label: str) -> None:
        try:
            status = item.stat()
        except OSError as error:
            # A file that is not there any more was deleted during the walk.
            if item.is_symlink() or not isinstance(error, FileNotFoundError):
                self._add_problem(item.path, f"file cannot be read: {os_error_text(error)}")
                if error.errno not in IMPOSSIBLE_TARGET:
                    self.gaps.append(WorkflowGap(item.path, label, explain_unread(item.path, error), is_file=True))
            return
        self._add_file(item.path, status, label)

    def _add_unclear_link(self, item: os.DirEntry[str], label: str) -> None:
        """Add a gap for a link that may lead to a folder, but whose target cannot be looked at."""
        if not item.is_symlink() or item.name.startswith(".") or item.name in SKIPPED_FOLDERS:
            return
        try:
            item.stat()
        except OSError as error:
            if error.errno in IMPOSSIBLE_TARGET:
                self._add_problem(item.path, f"link cannot be followed: {os_error_text(error)}")
                return
            # A name with a suffix is most likely that of a file, and only known workflows show that it was a folder.
            is_certain = not os.path.splitext(item.name)[1]
            if is_certain:
                self._add_problem(item.path, f"folder cannot be read: {os_error_text(error)}")
            obstacle = explain_unread(item.path, error)
            self.gaps.append(WorkflowGap(item.path, label, obstacle, is_certain=is_certain))

    def _add_folder_gap(self, folder: str, label: str, error: OSError) -> None:
        self._add_problem(folder, f"folder cannot be read: {os_error_text(error)}")
        self.gaps.append(WorkflowGap(folder, label, explain_unread(folder, error)))

    def _add_file(self, path: str, status: os.stat_result, label: str) -> None:
        if not stat.S_ISREG(status.st_mode):
            self._add_problem(path, "not a regular file; not read")
            return
        file = WorkflowFile(path, label, status.st_size, status.st_mtime_ns, status.st_dev, status.st_ino)
        self.files.setdefault(path, file)

    def _add_problem(self, path: str | Path, reason: str) -> None:
        self.problems.append((printable_path(path), reason))


def _list_kernel_devices() -> frozenset[int]:
    devices = set()
    for folder in ("/proc", "/sys", "/dev"):
        with contextlib.suppress(OSError):
            devices.add(os.stat(folder).st_dev)
    # Where they are plain folders (no /proc mounted), they are on the disk of everything else.
    return frozenset(devices - {os.stat("/").st_dev})


def list_workflows(
    roots: Iterable[WatchedRoot], *, suffixes: frozenset[str], unmounted: Iterable[str] | None = None
) -> WorkflowListing:
    """Walk the roots and list their workflow candidates; a file under two roots belongs to the first.

    Args:
        roots: Folders or single files; a root that does not exist is a problem, not an error.
        suffixes: Lower-case suffixes of the files to list (`.json`, `.png`).
        unmounted: Mount points without their disks; None for those of this host.
    """
    mount_points = list_unmounted() if unmounted is None else tuple(unmounted)
    walk = _WorkflowWalk(suffixes)
    for root in roots:
        walk.add_root(root)
        if mount_points:
            walk.add_unmounted(root, mount_points)
    files = tuple(file for _path, file in sorted(walk.files.items()))
    return WorkflowListing(files=files, problems=tuple(walk.problems), gaps=tuple(walk.gaps))


def explain_unread(path: str, error: OSError) -> Obstacle:
    """Return the obstacle for a file or folder that could not be read, though a folder listed its name."""
    if isinstance(error, FileNotFoundError):
        if os.path.islink(path):
            return build_link_obstacle(path)
        return Obstacle(ObstacleKind.UNREADABLE, printable_path(path), "it disappeared while it was read")
    return explain_error(path, error)


def _explain_root(path: str, error: OSError | ValueError) -> Obstacle:
    obstacle = None
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        obstacle = explain_missing_folder(path, path)
    elif isinstance(error, OSError):
        obstacle = explain_error(path, error)
    return obstacle or Obstacle(ObstacleKind.UNREADABLE, printable_path(path), os_error_text(error))


def find_default_roots(base: Path) -> Iterator[WatchedRoot]:
    """Yield the folders in which ComfyUI itself keeps users' workflows (`user/<name>/workflows`).

    A folder that cannot be looked at is yielded too; one that does not exist is not.
    """
    users = build_users_root(base).path
    try:
        names = sorted(os.listdir(users))
    except OSError:
        # Every ComfyUI has this user; another one may be known from earlier cycles.
        names = ["default"]
    for name in names:
        folder = users / name / "workflows"
        if os.path.isdir(folder) or explain_missing_folder(os.fspath(folder), None) is not None:
            yield WatchedRoot(folder, "comfyui" if name == "default" else f"comfyui:{name}")


def build_users_root(base: Path) -> WatchedRoot:
    """Return the folder with the data of all users of a ComfyUI, their workflows among it."""
    return WatchedRoot(base / "user", "comfyui")


def is_below(path: str, roots: Iterable[WatchedRoot]) -> bool:
    """Return whether a path is in one of the roots, or is one."""
    return any(Path(path).is_relative_to(root.path) for root in roots)
