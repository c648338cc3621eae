"""Custom node packs on disk: which there are, and whether anything of them changed."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import is_folder, open_regular, printable_path

_METADATA_FILES: Final = frozenset({"pyproject.toml", "requirements.txt"})
_SKIPPED: Final = frozenset(
    {".git", ".github", "__pycache__", "node_modules", "web", "js", ".venv", "venv", "site-packages"}
)
_DISABLED_SUFFIX: Final = ".disabled"
_DISABLED_FOLDER: Final = ".disabled"
_MAX_DEPTH: Final = 12
_MAX_FILES: Final = 20_000
_GIT_FILES: Final = ("HEAD", "index", "logs/HEAD", "packed-refs", "config")


@dataclass(frozen=True, slots=True)
class PackListing:
    """One pack as a walk found it, nothing of it read yet.

    Attributes:
        folder: Its name in `custom_nodes`, without `.disabled`.
        path: Its folder, or its one file.
        enabled: ComfyUI would load it.
        sources: Python files and the two files of facts, relative to the folder, in order.
        fingerprint: Changes with any of these files (name, size, mtime).
        git_fingerprint: Changes with its git state; empty when it is no repository of its own.
        problems: What could not be looked at, in words.
        newest_ns: The latest time of change of any of these files, in nanoseconds.
    """

    folder: str
    path: Path
    enabled: bool
    sources: tuple[str, ...]
    fingerprint: str
    git_fingerprint: str
    problems: tuple[str, ...] = ()
    newest_ns: int = 0


@dataclass(slots=True)
class _PackWalk:
    """What one pack's walk has gathered."""

    sources: list[tuple[str, int, int]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    seen: set[tuple[int, int]] = field(default_factory=set)


def find_packs(custom_nodes_folders: Iterable[Path]) -> tuple[PackListing, ...]:
    """List the packs of several `custom_nodes` folders; a folder that is not there holds none.

    Packs and their subfolders may be links. Of two packs with one name in several folders each is listed.
    """
    listings: list[PackListing] = []
    for parent in custom_nodes_folders:
        for entry in _list_entries(parent):
            if entry.name == _DISABLED_FOLDER:
                listings.extend(
                    _list_pack(inner, enabled=False) for inner in _list_entries(entry.path) if _is_pack(inner)
                )
            elif _is_pack(entry):
                listings.append(_list_pack(entry, enabled=not entry.name.endswith(_DISABLED_SUFFIX)))
    return tuple(listings)


def fingerprint_files(paths: Iterable[Path]) -> str:
    """Return a text that changes with the name, size or mtime of any of these files; absent ones count as absent."""
    return _hash_rows((os.fspath(path), *_get_stamp(path)) for path in paths)


def _list_entries(folder: str | os.PathLike[str]) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []


def _is_pack(entry: os.DirEntry[str]) -> bool:
    """Say whether ComfyUI would take an entry of `custom_nodes` for a pack, or would if it were enabled."""
    if entry.name == "__pycache__" or entry.name.startswith("."):
        return False
    try:
        if entry.is_dir():
            return True
        name = entry.name.removesuffix(_DISABLED_SUFFIX)
        return name.endswith(".py") and name != "__init__.py" and entry.is_file()
    except OSError:
        return False


def _list_pack(entry: os.DirEntry[str], *, enabled: bool) -> PackListing:
    walk = _PackWalk()
    path = Path(entry.path)
    if entry.is_dir():
        _walk_folder(entry.path, "", 0, walk)
    else:
        walk.sources.append((entry.name, *_get_stamp(path)))
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
    )


def _walk_folder(folder: str, prefix: str, depth: int, walk: _PackWalk) -> None:
    try:
        found = os.stat(folder)
        if (found.st_dev, found.st_ino) in walk.seen:
            return
        walk.seen.add((found.st_dev, found.st_ino))
        with os.scandir(folder) as entries:
            for entry in entries:
                _add_entry(entry, prefix, depth, walk)
    except OSError as error:
        walk.problems.append(f"{printable_path(folder)} cannot be listed: {error.strerror}")


def _add_entry(entry: os.DirEntry[str], prefix: str, depth: int, walk: _PackWalk) -> None:
    name = entry.name
    if name.endswith(".py") or (not prefix and name in _METADATA_FILES):
        if len(walk.sources) >= _MAX_FILES:
            return
        found = _stat_regular(entry)
        if found is not None:
            walk.sources.append((prefix + name, found.st_size, found.st_mtime_ns))
    elif name not in _SKIPPED and depth < _MAX_DEPTH and is_folder(entry):
        _walk_folder(entry.path, f"{prefix}{name}/", depth + 1, walk)


def _stat_regular(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        found = entry.stat()
    except OSError:
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def _get_stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return (-1, -1)
    return (found.st_size, found.st_mtime_ns)


def _hash_rows(rows: Iterable[tuple[object, ...]]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for row in rows:
        digest.update(repr(row).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _fingerprint_git(pack: Path) -> str:
    folder = pack / ".git"
    try:
        found = folder.stat()
    except OSError:
        return ""
    if stat.S_ISDIR(found.st_mode):
        return _hash_rows(_get_git_stamps(folder))
    return _hash_rows([(found.st_size, found.st_mtime_ns), *_get_git_stamps(_resolve_git_file(folder))])


def _get_git_stamps(folder: Path) -> Iterator[tuple[int, int]]:
    return (_get_stamp(folder / name) for name in _GIT_FILES)


def _resolve_git_file(file: Path) -> Path:
    """Follow the one line of a `.git` file (`gitdir: …`), as worktrees and submodules have it."""
    try:
        with open_regular(file) as descriptor:
            line = os.pread(descriptor, 4096, 0)
    except Failure:
        return file
    return file.parent / os.fsdecode(line.removeprefix(b"gitdir:").strip().replace(b"\0", b""))
