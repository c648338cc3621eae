"""Find the workflow files in the watched workflow folders (roots), and tell deleted files from unavailable ones."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from comfywatchman.base.files import is_folder, printable_path
from comfywatchman.base.text import os_error_text

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
class WorkflowListing:
    """Every candidate file of the roots in path order, and the problems met (path and reason)."""

    files: tuple[WorkflowFile, ...]
    problems: tuple[tuple[str, str], ...]


class _WorkflowWalk:
    """Collects the files and problems of one walk over the roots."""

    def __init__(self, suffixes: frozenset[str]) -> None:
        self.files: dict[str, WorkflowFile] = {}
        self.problems: list[tuple[str, str]] = []
        self._suffixes = suffixes

    def add_root(self, root: WatchedRoot) -> None:
        try:
            status = os.stat(root.path)
        except (OSError, ValueError) as error:
            self._add_problem(root.path, f"workflow root cannot be read: {os_error_text(error)}")
            return
        if stat.S_ISDIR(status.st_mode):
            self._add_folder(os.fspath(root.path), root.label, {(status.st_dev, status.st_ino)})
        else:
            self._add_file(os.fspath(root.path), status, root.label)

    def _add_folder(self, folder: str, label: str, ancestors: set[_FolderIdentity]) -> None:
        try:
            with os.scandir(folder) as scan:
                items = list(scan)
        except OSError as error:
            self._add_problem(folder, f"folder cannot be read: {os_error_text(error)}")
            return
        for item in items:
            if is_folder(item):
                self._add_subfolder(item, label, ancestors)
            elif os.path.splitext(item.name)[1].lower() in self._suffixes and not item.name.startswith("."):
                self._add_item(item, label)

    def _add_subfolder(self, item: os.DirEntry[str], label: str, ancestors: set[_FolderIdentity]) -> None:
        if item.name in SKIPPED_FOLDERS:
            return
        try:
            status = item.stat()
        except OSError as error:
            self._add_problem(item.path, f"folder cannot be read: {os_error_text(error)}")
            return
        identity = (status.st_dev, status.st_ino)
        if identity in ancestors:
            self._add_problem(item.path, "folder is a link to one that contains it; not entered again")
            return
        self._add_folder(item.path, label, ancestors | {identity})

    def _add_item(self, item: os.DirEntry[str], label: str) -> None:
        try:
            status = item.stat()
        except OSError as error:
            self._add_problem(item.path, f"file cannot be read: {os_error_text(error)}")
            return
        self._add_file(item.path, status, label)

    def _add_file(self, path: str, status: os.stat_result, label: str) -> None:
        if not stat.S_ISREG(status.st_mode):
            self._add_problem(path, "not a regular file; not read")
            return
        file = WorkflowFile(path, label, status.st_size, status.st_mtime_ns, status.st_dev, status.st_ino)
        self.files.setdefault(path, file)

    def _add_problem(self, path: str | Path, reason: str) -> None:
        self.problems.append((printable_path(path), reason))


def list_workflows(roots: Iterable[WatchedRoot], *, suffixes: frozenset[str]) -> WorkflowListing:
    """Walk the roots and list their workflow candidates; a file under two roots belongs to the first.

    Args:
        roots: Folders or single files; a root that does not exist is a problem, not an error.
        suffixes: Lower-case suffixes of the files to list (`.json`, `.png`).
    """
    walk = _WorkflowWalk(suffixes)
    for root in roots:
        walk.add_root(root)
    files = tuple(file for _path, file in sorted(walk.files.items()))
    return WorkflowListing(files=files, problems=tuple(walk.problems))


def find_default_roots(base: Path) -> Iterator[WatchedRoot]:
    """Yield the folders in which ComfyUI itself keeps users' workflows (`user/<name>/workflows`)."""
    users = build_users_root(base).path
    try:
        names = sorted(item.name for item in os.scandir(users) if item.is_dir())
    except OSError:
        return
    for name in names:
        folder = users / name / "workflows"
        if os.path.isdir(folder):
            yield WatchedRoot(folder, "comfyui" if name == "default" else f"comfyui:{name}")


def build_users_root(base: Path) -> WatchedRoot:
    """Return the folder with the data of all users of a ComfyUI, their workflows among it."""
    return WatchedRoot(base / "user", "comfyui")


def is_gone(path: str, roots: Iterable[WatchedRoot], *, device: int | None = None) -> bool:
    """Return whether a known file that the last walk did not list has been deleted or is not watched any more.

    An unavailable file is not gone: its root or folder is missing or unreadable, a link on its way is broken, or an
    empty folder is left of a mounted disk. A path under no root is gone, and so is one that exists but was not
    listed (it became a folder, or its suffix is not watched).

    Args:
        path: Absolute path as the walk gave it.
        roots: The watched roots.
        device: The device that the file was on, if known.
    """
    root = next((root.path for root in roots if Path(path).is_relative_to(root.path)), None)
    if root is None:
        return True
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return not os.path.islink(path) and _is_confirmed_absent(Path(path), root, device)
    except OSError:
        return False
    # It exists but was not listed: either it is not a workflow any more, or its folder could not be listed.
    return _is_listable(Path(path).parent)


def _is_confirmed_absent(path: Path, root: Path, device: int | None) -> bool:
    """Return whether the nearest existing folder above a missing path shows that it was deleted."""
    for folder in path.parents:
        if os.path.lexists(folder):
            return _is_listable(folder) and not _is_unmounted(folder, device)
        # When the root itself is missing, nothing shows whether the file was deleted or its disk is unmounted.
        if root in (path, folder):
            break
    return False


def _is_listable(folder: Path) -> bool:
    try:
        os.scandir(folder).close()
    except NotADirectoryError:
        # A file took the place of the folder, so what was in it is gone.
        return True
    except OSError:
        return False
    return True


def _is_unmounted(folder: Path, device: int | None) -> bool:
    """Return whether a folder is the empty mount point of the disk that had this device number."""
    if device is None or not os.path.isdir(folder):
        return False
    # A new disk may be mounted here; then its content counts, even when it is empty.
    if folder.stat().st_dev == device or os.path.ismount(folder):
        return False
    with os.scandir(folder) as items:
        return next(items, None) is None
