"""What lies in the model folders: one walk, one stat for each file."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.files import is_folder, printable_path
from comfywatchman.comfyui.install.folders import FOLDER_EXTENSION, ModelFolder, ModelFolders

MAX_FOLDERS: Final = 200_000
"""How many directories one walk enters; links that fan out could make more of any small tree."""

_EXCLUDED: Final = frozenset({".git"})
_UNFINISHED_SUFFIXES: Final = frozenset(
    {"part", "partial", "tmp", "temp", "crdownload", "download", "incomplete", "lock"}
)
_DIFFUSERS_INDEX: Final = "model_index.json"
_CONTROL_FILE: Final = ".aria2"
UNFINISHED: Final = "aria2 has not finished fetching it: its control file lies beside it"
"""Aria2 gives a file its name and full size before it has the bytes, so that only this tells."""


class ModelEntry(msgspec.Struct, frozen=True, gc=False):
    """One name in a model folder.

    Attributes:
        name: Relative to the directory, with `/`, as ComfyUI lists it.
        path: Absolute, symbolic links as they stand.
        size: In bytes, of what a link leads to.
        mtime_ns: Its time of change.
        device: `st_dev`.
        inode: `st_ino`.
        problem: Why it is no file that can be opened (a link to nowhere, a FIFO), or `UNFINISHED`; None for a regular
            file that is whole as far as its folder tells.
    """

    name: str
    path: str
    size: int
    mtime_ns: int
    device: int
    inode: int
    problem: str | None


class ModelListingProblem(msgspec.Struct, frozen=True):
    """A place that could not be listed, or a name that no workflow can carry.

    Attributes:
        path: Printable form of the path.
        reason: What is wrong, in words.
    """

    path: str
    reason: str


class ModelListing(msgspec.Struct, frozen=True):
    """What a walk found: for each folder its entries by name, sorted, and what could not be listed."""

    folders: dict[str, dict[str, ModelEntry]]
    problems: tuple[ModelListingProblem, ...]


def scan_models(folders: ModelFolders) -> ModelListing:
    """List every model file as ComfyUI would, without opening any.

    Links are followed; a link to a directory that the walk is inside of is passed over and reported. The first
    directory that has a name wins, but a link to nowhere or a FIFO never hides a file, as in ComfyUI.
    """
    walk = _ModelWalk(_collect_suffixes(folders))
    found = {}
    for name in folders.names():
        folder = folders.folders[name]
        found[name] = (
            _list_diffusers(folder, walk) if FOLDER_EXTENSION in folder.extensions else _list_files(folder, walk)
        )
    return ModelListing(found, tuple(walk.problems))


def _collect_suffixes(folders: ModelFolders) -> dict[str, frozenset[str] | None]:
    """Return for each directory the suffixes (without dot) that any folder looks for there; None stands for all."""
    wanted: dict[str, frozenset[str] | None] = {}
    for folder in folders.folders.values():
        for directory in map(str, folder.directories):
            before = wanted.get(directory, frozenset())
            suffixes = {e.removeprefix(".") for e in folder.extensions}
            wanted[directory] = before | suffixes if suffixes and before is not None else None
    return wanted


def _list_files(folder: ModelFolder, walk: _ModelWalk) -> dict[str, ModelEntry]:
    found: dict[str, ModelEntry] = {}
    for directory in folder.directories:
        by_suffix = walk.files_by_suffix(str(directory))
        suffixes = {e.removeprefix(".") for e in folder.extensions} or by_suffix.keys()
        for suffix in suffixes:
            _add_entries(found, by_suffix.get(suffix, ()))
    return dict(sorted(found.items()))


def _add_entries(found: dict[str, ModelEntry], entries: Iterable[ModelEntry]) -> None:
    for entry in entries:
        earlier = found.setdefault(entry.name, entry)
        if earlier.problem not in {None, UNFINISHED} and entry.problem is None:
            found[entry.name] = entry


def _list_diffusers(folder: ModelFolder, walk: _ModelWalk) -> dict[str, ModelEntry]:
    found: dict[str, ModelEntry] = {}
    for directory in folder.directories:
        indexes = [e for e in walk.files_by_suffix(str(directory)).get("json", ()) if _is_diffusers_index(e.name)]
        _add_entries(found, map(_convert_to_folder, indexes))
    return dict(sorted(found.items()))


def _is_diffusers_index(name: str) -> bool:
    return name.rpartition("/")[2] == _DIFFUSERS_INDEX


def _convert_to_folder(index: ModelEntry) -> ModelEntry:
    return msgspec.structs.replace(index, name=os.path.dirname(index.name) or ".", path=os.path.dirname(index.path))


class _ModelWalk:
    """Directories that were listed once, however many folders share them."""

    def __init__(self, wanted: dict[str, frozenset[str] | None]) -> None:
        self.problems: list[ModelListingProblem] = []
        self._wanted = {
            directory: None if suffixes is None else suffixes | ({"json"} if FOLDER_EXTENSION in suffixes else set())
            for directory, suffixes in wanted.items()
        }
        self._listed: dict[str, dict[str, list[ModelEntry]]] = {}
        self._entered = 0

    def files_by_suffix(self, directory: str) -> dict[str, list[ModelEntry]]:
        """Return what lies under a directory by lower-case suffix without its dot; nothing when there is none."""
        if directory not in self._listed:
            self._listed[directory] = self._list_tree(directory, self._wanted[directory])
        return self._listed[directory]

    def _list_tree(self, directory: str, wanted: frozenset[str] | None) -> dict[str, list[ModelEntry]]:
        found: dict[str, list[ModelEntry]] = {}
        unfinished: set[str] = set()
        waiting = [(directory, "")]
        while waiting:
            path, prefix = waiting.pop()
            self._entered += 1
            if self._entered > MAX_FOLDERS:
                self._report(directory, f"more than {MAX_FOLDERS} folders; the rest was not listed")
                break
            try:
                with os.scandir(path) as entries:
                    unfinished |= self._list_folder(entries, prefix, wanted, found, waiting)
            except FileNotFoundError:
                continue
            except OSError as error:
                if path != directory or not isinstance(error, NotADirectoryError):
                    self._report(path, f"cannot be listed: {error.strerror}")
        return _mark_unfinished(found, unfinished) if unfinished else found

    def _list_folder(
        self,
        entries: Iterable[os.DirEntry[str]],
        prefix: str,
        wanted: frozenset[str] | None,
        found: dict[str, list[ModelEntry]],
        waiting: list[tuple[str, str]],
    ) -> set[str]:
        """List one folder; return the names of what aria2 is still fetching in it."""
        unfinished: set[str] = set()
        for entry in entries:
            name = entry.name
            if is_folder(entry):
                if name not in _EXCLUDED and self._may_enter(entry, prefix.count("/")):
                    waiting.append((entry.path, f"{prefix}{name}/"))
                continue
            if name.endswith(_CONTROL_FILE):
                unfinished.add(prefix + name.removesuffix(_CONTROL_FILE))
                continue
            stem, dot, suffix = name.rpartition(".")
            if not dot or not stem.strip("."):
                suffix = ""
            if wanted is None or suffix not in wanted:
                suffix = suffix.lower()
                if wanted is not None and suffix not in wanted:
                    continue
            if suffix in _UNFINISHED_SUFFIXES or (not suffix and _is_placeholder(name)):
                continue
            if not (name.isascii() and name.isprintable()) and not self._is_usable_name(entry):
                continue
            found.setdefault(suffix, []).append(_read_entry(entry, prefix + name))
        return unfinished

    def _may_enter(self, entry: os.DirEntry[str], depth: int) -> bool:
        """Say whether a directory is new on this path; only a symbolic link can lead back."""
        if not self._is_usable_name(entry):
            return False
        if not entry.is_symlink():
            return True
        target = entry.stat()
        for above in list(Path(entry.path).parents)[: depth + 1]:
            here = above.stat()
            if (here.st_dev, here.st_ino) == (target.st_dev, target.st_ino):
                self._report(entry.path, "is a link to a folder that holds it; it was not followed")
                return False
        return True

    def _is_usable_name(self, entry: os.DirEntry[str]) -> bool:
        name = entry.name
        if name.isascii() and name.isprintable():
            return True
        try:
            name.encode("utf-8")
        except UnicodeEncodeError:
            self._report(entry.path, "has a name that is not UTF-8; no workflow can name it")
            return False
        if not name.isprintable():
            self._report(entry.path, "has a name with characters that cannot be shown")
        return True

    def _report(self, path: str, reason: str) -> None:
        self.problems.append(ModelListingProblem(printable_path(path), reason))


def _mark_unfinished(found: dict[str, list[ModelEntry]], unfinished: set[str]) -> dict[str, list[ModelEntry]]:
    return {
        suffix: [
            msgspec.structs.replace(entry, problem=entry.problem or UNFINISHED) if entry.name in unfinished else entry
            for entry in entries
        ]
        for suffix, entries in found.items()
    }


def _is_placeholder(name: str) -> bool:
    """Say whether this is one of the empty files that ComfyUI ships to say what a folder is for."""
    return name.startswith("put_") and name.endswith("_here")


def _read_entry(entry: os.DirEntry[str], name: str) -> ModelEntry:
    try:
        found = entry.stat()
    except OSError as error:
        return ModelEntry(name, entry.path, 0, 0, 0, 0, _describe_stat_error(entry, error))
    problem = None if stat.S_ISREG(found.st_mode) else "not a regular file"
    return ModelEntry(name, entry.path, found.st_size, found.st_mtime_ns, found.st_dev, found.st_ino, problem)


def _describe_stat_error(entry: os.DirEntry[str], error: OSError) -> str:
    if isinstance(error, FileNotFoundError) and entry.is_symlink():
        return f"a link to {printable_path(os.readlink(entry.path))}, which does not exist"
    return f"cannot be read: {error.strerror}"
