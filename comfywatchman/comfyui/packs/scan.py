"""Scan `custom_nodes` for node packs, disabled ones included, and fingerprint their files to notice changes."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import is_folder, open_regular, printable_path
from comfywatchman.comfyui.install.reachability import (
    NO_SUCH_TARGET,
    Obstacle,
    ObstacleKind,
    describe_problem,
    explain_entry,
    explain_error,
)

_METADATA_FILES: Final = frozenset({"pyproject.toml", "requirements.txt"})
_SKIPPED: Final = frozenset(
    {".git", ".github", "__pycache__", "node_modules", "web", "js", ".venv", "venv", "site-packages"}
)
"""Folders without node definitions; `web` and `js` hold the pack's part of the editor."""

_CORE_FILES: Final = frozenset({"websocket_image_save.py"})
"""Single-file packs that are part of ComfyUI."""

_DISABLED_SUFFIX: Final = ".disabled"
_DISABLED_FOLDER: Final = ".disabled"
_READABLE_BY_ALL: Final = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH
_MAX_DEPTH: Final = 12
_MAX_FILES: Final = 20_000
_GIT_FILES: Final = ("HEAD", "index", "logs/HEAD", "packed-refs", "config")
"""Files of which at least one changes with every commit, checkout, pull and change of the remote."""


@dataclass(frozen=True, slots=True)
class PackListing:
    """A pack on disk; no file of it has been read.

    Attributes:
        folder: Its name in `custom_nodes`, without `.disabled`.
        path: Its folder, or its one file.
        enabled: Whether ComfyUI would load it.
        sources: Python files and the two metadata files, relative to the folder, sorted.
        fingerprint: Changes with any of these files (name, size, mtime).
        git_fingerprint: Changes with its git state; empty when it is not a repository of its own.
        problems: Folders that could not be listed, for people.
        newest_ns: The latest modification time of these files, in nanoseconds.
        obstacle: Why some of its files could not be looked at, or, without sources, why none could; None when all were.
    """

    folder: str
    path: Path
    enabled: bool
    sources: tuple[str, ...]
    fingerprint: str
    git_fingerprint: str
    problems: tuple[str, ...] = ()
    newest_ns: int = 0
    obstacle: Obstacle | None = None

    @property
    def is_hidden(self) -> bool:
        """Whether nothing of the pack could be looked at."""
        return self.obstacle is not None and not self.sources


@dataclass(slots=True)
class _PackWalk:
    """Collects the files of a pack.

    Attributes:
        sources: Name, size and mtime of each file.
        problems: Folders that could not be listed, for people.
        seen: Device and inode of each folder that was entered.
        obstacle: Why the first file or folder that could not be looked at could not; None when all could.
    """

    sources: list[tuple[str, int, int]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    seen: set[tuple[int, int]] = field(default_factory=set)
    obstacle: Obstacle | None = None


def find_packs(custom_nodes_folders: Iterable[Path]) -> tuple[PackListing, ...]:
    """List the packs of several `custom_nodes` folders; a missing folder has none.

    Packs and their subfolders may be links. Packs with the same name in different folders are all listed.
    """
    listings: list[PackListing] = []
    for parent in custom_nodes_folders:
        for entry in _list_entries(parent):
            # ComfyUI-Manager moves a disabled pack into `.disabled`; by hand one is disabled by its suffix.
            if entry.name == _DISABLED_FOLDER:
                disabled = filter(_is_pack, _list_entries(entry.path))
                listings.extend(_list_pack(pack, enabled=False) for pack in disabled)
            elif _is_pack(entry):
                listings.append(_list_pack(entry, enabled=not entry.name.endswith(_DISABLED_SUFFIX)))
    return tuple(listings)


def find_node_folders(custom_nodes: Path) -> dict[str, PackListing]:
    """Return the packs in `custom_nodes`, folders and single Python files, by the name of folder or file."""
    packs = {}
    for listing in find_packs([custom_nodes]):
        name = listing.folder if listing.path.is_dir() else listing.path.name.removesuffix(".disabled")
        if name not in _CORE_FILES:
            packs[name] = listing
    return packs


def fingerprint_files(paths: Iterable[Path]) -> str:
    """Return a text that changes with the name, size or mtime of any of these files; a file may be absent."""
    return _hash_rows((os.fspath(path), *_get_stamp(path)) for path in paths)


def _list_entries(folder: str | os.PathLike[str]) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []


def _is_pack(entry: os.DirEntry[str]) -> bool:
    """Return whether ComfyUI would load an entry of `custom_nodes` as a pack, or would if it were enabled."""
    if entry.name == "__pycache__" or entry.name.startswith("."):
        return False
    try:
        if entry.is_dir():
            return True
        name = entry.name.removesuffix(_DISABLED_SUFFIX)
        if name.endswith(".py") and name != "__init__.py" and entry.is_file():
            return True
    except OSError:
        pass  # what cannot be looked at may be a pack
    return explain_entry(entry) is not None


def _list_pack(entry: os.DirEntry[str], *, enabled: bool) -> PackListing:
    walk = _PackWalk()
    path = Path(entry.path)
    walk.obstacle = explain_entry(entry)
    if walk.obstacle is not None:
        walk.problems.append(f"{walk.obstacle.path} {describe_problem(walk.obstacle)}")
    elif is_folder(entry):
        _walk_folder(entry.path, "", 0, walk)
    else:
        walk.sources.append((entry.name, *_get_stamp(path)))
    # A folder lists its entries in an arbitrary order; the fingerprint must not depend on it.
    walk.sources.sort()
    return PackListing(
        folder=entry.name.removesuffix(_DISABLED_SUFFIX).removesuffix(".py"),
        path=path,
        enabled=enabled,
        sources=tuple(name for name, _, _ in walk.sources),
        fingerprint=_hash_rows(walk.sources),
        git_fingerprint=_fingerprint_git(path),
        problems=tuple(walk.problems[:5]),
        newest_ns=max((mtime_ns for _, _, mtime_ns in walk.sources), default=0),
        obstacle=walk.obstacle,
    )


def _walk_folder(folder: str, prefix: str, depth: int, walk: _PackWalk) -> None:
    try:
        folder_stat = os.stat(folder)
        # Links may lead back into a folder above.
        identity = (folder_stat.st_dev, folder_stat.st_ino)
        if identity in walk.seen:
            return
        walk.seen.add(identity)
        with os.scandir(folder) as entries:
            for entry in entries:
                _add_entry(entry, prefix, depth, walk)
    except OSError as error:
        walk.problems.append(f"{printable_path(folder)} cannot be listed: {error.strerror}")
        if error.errno not in NO_SUCH_TARGET:
            walk.obstacle = walk.obstacle or explain_error(folder, error)


def _add_entry(entry: os.DirEntry[str], prefix: str, depth: int, walk: _PackWalk) -> None:
    name = entry.name
    if name.endswith(".py") or (not prefix and name in _METADATA_FILES):
        if len(walk.sources) >= _MAX_FILES:
            return
        file_stat = _stat_regular(entry)
        if file_stat is None:
            walk.obstacle = walk.obstacle or explain_entry(entry)
        else:
            # Most files can be read by everybody, which saves the system call.
            if file_stat.st_mode & _READABLE_BY_ALL != _READABLE_BY_ALL and not os.access(entry.path, os.R_OK):
                denied = Obstacle(ObstacleKind.UNREADABLE, printable_path(entry.path), os.strerror(errno.EACCES))
                walk.obstacle = walk.obstacle or denied
            walk.sources.append((prefix + name, file_stat.st_size, file_stat.st_mtime_ns))
    elif name not in _SKIPPED and depth < _MAX_DEPTH and is_folder(entry):
        _walk_folder(entry.path, f"{prefix}{name}/", depth + 1, walk)


def _stat_regular(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        file_stat = entry.stat()
    except OSError:
        return None
    return file_stat if stat.S_ISREG(file_stat.st_mode) else None


def _get_stamp(path: Path) -> tuple[int, int]:
    """Return size and mtime of a file; an absent one has a stamp too, so that its removal is a change."""
    try:
        file_stat = path.stat()
    except OSError:
        return (-1, -1)
    return (file_stat.st_size, file_stat.st_mtime_ns)


def _hash_rows(rows: Iterable[tuple[object, ...]]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for row in rows:
        # Names that are not UTF-8 hold surrogates.
        digest.update(repr(row).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _fingerprint_git(pack: Path) -> str:
    git_path = pack / ".git"
    try:
        git_stat = git_path.stat()
    except OSError:
        return ""
    if stat.S_ISDIR(git_stat.st_mode):
        return _hash_rows(_get_git_stamps(git_path))
    stamp = (git_stat.st_size, git_stat.st_mtime_ns)
    return _hash_rows([stamp, *_get_git_stamps(_resolve_git_file(git_path))])


def _get_git_stamps(folder: Path) -> list[tuple[int, int]]:
    return [_get_stamp(folder / name) for name in _GIT_FILES]


def _resolve_git_file(file: Path) -> Path:
    """Follow the line `gitdir: …` of a `.git` file, which worktrees and submodules have in place of the folder."""
    try:
        with open_regular(file) as descriptor:
            line = os.pread(descriptor, 4096, 0)
    except Failure:
        return file
    git_folder = os.fsdecode(line.removeprefix(b"gitdir:").strip().replace(b"\0", b""))
    # A relative path is relative to the folder of the `.git` file.
    return file.parent / git_folder
