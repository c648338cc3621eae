"""The workflow files of the watched roots."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from comfywatchman.base.files import is_folder, printable_path
from comfywatchman.base.text import os_error_text

SKIPPED_FOLDERS: Final = frozenset({".git", "__pycache__", "node_modules", ".venv"})


@dataclass(frozen=True, slots=True)
class WatchedRoot:
    """A watched folder or file, and the label its workflows carry as intake source."""

    path: Path
    label: str


@dataclass(frozen=True, slots=True)
class WorkflowFile:
    """One candidate file, as the directory shows it.

    Attributes:
        path: Absolute path; bytes that are no UTF-8 stand as surrogate escapes.
        source: Label of its root.
        size: In bytes.
        mtime_ns: Time of last change in nanoseconds.
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
        """What changes when the file is written or replaced."""
        return self.device, self.inode, self.size, self.mtime_ns


@dataclass(frozen=True, slots=True)
class WorkflowListing:
    """Every candidate file of the roots in path order, and what could not be looked at (path and reason)."""

    files: tuple[WorkflowFile, ...]
    problems: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _WorkflowWalk:
    suffixes: frozenset[str]
    found: dict[str, WorkflowFile] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)


def list_workflows(roots: Iterable[WatchedRoot], *, suffixes: frozenset[str]) -> WorkflowListing:
    """Walk the roots; a file under two roots belongs to the first.

    Args:
        roots: Folders or single files; a root that does not exist is a problem, not an error.
        suffixes: Lower-cased endings of files to consider (`.json`, `.png`).
    """
    walk = _WorkflowWalk(suffixes)
    for root in roots:
        try:
            status = os.stat(root.path)
        except (OSError, ValueError) as error:
            walk.problems.append((printable_path(root.path), f"workflow root cannot be read: {os_error_text(error)}"))
            continue
        if stat.S_ISDIR(status.st_mode):
            _walk_folder(os.fspath(root.path), root.label, walk, {(status.st_dev, status.st_ino)})
        else:
            _add_file(os.fspath(root.path), status, root.label, walk)
    return WorkflowListing(files=tuple(walk.found[path] for path in sorted(walk.found)), problems=tuple(walk.problems))


def _walk_folder(folder: str, label: str, walk: _WorkflowWalk, above: set[tuple[int, int]]) -> None:
    try:
        with os.scandir(folder) as entries:
            listed = list(entries)
    except OSError as error:
        walk.problems.append((printable_path(folder), f"folder cannot be read: {os_error_text(error)}"))
        return
    for entry in listed:
        if is_folder(entry):
            _enter_folder(entry, label, walk, above)
        elif entry.name.endswith(tuple(walk.suffixes)) or os.path.splitext(entry.name)[1].lower() in walk.suffixes:
            _add_entry(entry, label, walk)


def _enter_folder(entry: os.DirEntry[str], label: str, walk: _WorkflowWalk, above: set[tuple[int, int]]) -> None:
    if entry.name in SKIPPED_FOLDERS:
        return
    try:
        status = entry.stat()
    except OSError as error:
        walk.problems.append((printable_path(entry.path), f"folder cannot be read: {os_error_text(error)}"))
        return
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        walk.problems.append((printable_path(entry.path), "folder links back to one that holds it; not entered again"))
        return
    _walk_folder(entry.path, label, walk, above | {identity})


def _add_entry(entry: os.DirEntry[str], label: str, walk: _WorkflowWalk) -> None:
    if entry.name.startswith("."):
        return
    try:
        _add_file(entry.path, entry.stat(), label, walk)
    except OSError as error:
        walk.problems.append((printable_path(entry.path), f"file cannot be read: {os_error_text(error)}"))


def _add_file(path: str, status: os.stat_result, label: str, walk: _WorkflowWalk) -> None:
    if not stat.S_ISREG(status.st_mode):
        walk.problems.append((printable_path(path), "not a regular file; not read"))
        return
    walk.found.setdefault(
        path, WorkflowFile(path, label, status.st_size, status.st_mtime_ns, status.st_dev, status.st_ino)
    )


def find_default_roots(base: Path) -> Iterator[WatchedRoot]:
    """Yield the folders in which ComfyUI itself keeps users' workflows (`user/<name>/workflows`)."""
    users = build_users_root(base).path
    try:
        names = sorted(entry.name for entry in os.scandir(users) if entry.is_dir())
    except OSError:
        return
    for name in names:
        folder = users / name / "workflows"
        if os.path.isdir(folder):
            yield WatchedRoot(folder, "comfyui" if name == "default" else f"comfyui:{name}")


def build_users_root(base: Path) -> WatchedRoot:
    """Return what holds the folders of all users of a ComfyUI, their workflows among much else."""
    return WatchedRoot(base / "user", "comfyui")


def is_gone(path: str, roots: Iterable[WatchedRoot], *, device: int | None = None) -> bool:
    """Say of a known file that a walk over the roots did not list whether it is really no watched workflow any more.

    What cannot be looked at is not gone: a root or folder that is missing or unreadable, a link that leads nowhere,
    an empty folder where a disk was mounted. A path under no root, or one that is there but holds no workflow any
    more (turned into a folder, of an ending that is not read), is gone.

    Args:
        path: Absolute path as the walk gave it.
        roots: What is watched now.
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
    return _is_listable(Path(path).parent)


def _is_confirmed_absent(path: Path, root: Path, device: int | None) -> bool:
    for folder in path.parents:
        if os.path.lexists(folder):
            return _is_listable(folder) and not _is_unmounted(folder, device)
        if root in (path, folder):
            break
    return False


def _is_listable(folder: Path) -> bool:
    try:
        os.scandir(folder).close()
    except NotADirectoryError:
        return True
    except OSError:
        return False
    return True


def _is_unmounted(folder: Path, device: int | None) -> bool:
    if device is None or not os.path.isdir(folder) or folder.stat().st_dev == device or os.path.ismount(folder):
        return False
    with os.scandir(folder) as entries:
        return next(entries, None) is None
