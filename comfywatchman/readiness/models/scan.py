"""Scan the model folders: list every model file with one `stat` each, without opening any."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import msgspec

from comfywatchman.base.files import is_folder, printable_path
from comfywatchman.comfyui.install.folders import FOLDER_EXTENSION, ModelFolder, ModelFolders

MAX_FOLDERS: Final = 200_000
"""Limit on the directories of one scan: symbolic links that fan out can turn any small tree into a huge one."""

EntryProblemCode = Literal["unreadable", "unfinished"]

UNREADABLE: Final = "unreadable"
"""Problem code of a name that cannot be opened: a broken link, a FIFO, a missing permission."""

UNFINISHED: Final = "unfinished"
"""Problem code of a file that aria2 is still downloading."""

_UNFINISHED_TEXT: Final = "aria2 has not finished downloading it: its control file is still there"

_EXCLUDED: Final = frozenset({".git"})
_UNFINISHED_SUFFIXES: Final = frozenset(
    {"part", "partial", "tmp", "temp", "crdownload", "download", "incomplete", "lock"}
)
_DIFFUSERS_INDEX: Final = "model_index.json"
_ARIA2_SUFFIX: Final = ".aria2"


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
        problem_code: `unreadable` or `unfinished`, set together with `problem`.
    """

    name: str
    path: str
    size: int
    mtime_ns: int
    device: int
    inode: int
    problem: str | None = None
    problem_code: EntryProblemCode | None = None


class ModelListingProblem(msgspec.Struct, frozen=True):
    """A folder that could not be listed, or a file name that no workflow can contain.

    Attributes:
        path: Printable form of the path.
        reason: Description of the problem.
    """

    path: str
    reason: str


class ModelListing(msgspec.Struct, frozen=True):
    """Result of a scan: the entries of each folder by name, sorted, and the problems met."""

    folders: dict[str, dict[str, ModelEntry]]
    problems: tuple[ModelListingProblem, ...]


def scan_models(folders: ModelFolders) -> ModelListing:
    """List every model file as ComfyUI would, without opening any.

    Links are followed; a link to a directory that contains it is skipped and reported. When a folder has several
    directories, the first one that has a name wins, but a broken link or FIFO never hides a file, as in ComfyUI.
    """
    walk = _ModelWalk(_collect_suffixes(folders))
    entries_by_folder: dict[str, dict[str, ModelEntry]] = {}
    for name in folders.names():
        entries = _list_entries(folders.folders[name], walk)
        entries_by_folder[name] = dict(sorted(entries.items()))
    return ModelListing(entries_by_folder, tuple(walk.problems))


def _collect_suffixes(folders: ModelFolders) -> dict[str, frozenset[str] | None]:
    """Return for each directory the suffixes (without dot) that any folder looks for there; None stands for all."""
    # Several folders may share a directory, which is then listed once for all of them.
    wanted: dict[str, frozenset[str] | None] = {}
    for folder in folders.folders.values():
        suffixes = _strip_dots(folder.extensions)
        for directory in map(str, folder.directories):
            earlier = wanted.get(directory, frozenset())
            # ComfyUI lists every file of a folder that names no extension.
            if not suffixes or earlier is None:
                wanted[directory] = None
            else:
                wanted[directory] = earlier | suffixes
    return wanted


def _strip_dots(extensions: Iterable[str]) -> frozenset[str]:
    return frozenset(extension.removeprefix(".") for extension in extensions)


def _list_entries(folder: ModelFolder, walk: _ModelWalk) -> dict[str, ModelEntry]:
    if FOLDER_EXTENSION in folder.extensions:
        return _list_diffusers(folder, walk)
    return _list_files(folder, walk)


def _list_files(folder: ModelFolder, walk: _ModelWalk) -> dict[str, ModelEntry]:
    entries: dict[str, ModelEntry] = {}
    for directory in folder.directories:
        by_suffix = walk.files_by_suffix(str(directory))
        for suffix in _strip_dots(folder.extensions) or by_suffix.keys():
            _add_entries(entries, by_suffix.get(suffix, ()))
    return entries


def _list_diffusers(folder: ModelFolder, walk: _ModelWalk) -> dict[str, ModelEntry]:
    entries: dict[str, ModelEntry] = {}
    for directory in folder.directories:
        json_files = walk.files_by_suffix(str(directory)).get("json", ())
        _add_entries(entries, _find_diffusers_models(json_files))
    return entries


def _find_diffusers_models(json_files: Iterable[ModelEntry]) -> Iterator[ModelEntry]:
    """Yield an entry for each folder that holds a diffusers index."""
    for index in json_files:
        folder, _, filename = index.name.rpartition("/")
        if filename == _DIFFUSERS_INDEX:
            yield msgspec.structs.replace(index, name=folder or ".", path=os.path.dirname(index.path))


def _add_entries(known: dict[str, ModelEntry], entries: Iterable[ModelEntry]) -> None:
    for entry in entries:
        earlier = known.setdefault(entry.name, entry)
        # ComfyUI skips a name that it cannot open and takes the next directory's file.
        if earlier.problem_code == UNREADABLE and entry.problem is None:
            known[entry.name] = entry


@dataclass(slots=True)
class _ModelTree:
    """Files below one directory.

    Attributes:
        wanted: Suffixes to keep; None for all.
        by_suffix: Kept files by suffix without dot.
        unfinished: Relative names of the files that have an aria2 control file beside them.
    """

    wanted: frozenset[str] | None
    by_suffix: dict[str, list[ModelEntry]] = field(default_factory=dict)
    unfinished: set[str] = field(default_factory=set)


class _ModelWalk:
    """Directory trees, each listed once, however many folders share them."""

    def __init__(self, wanted: dict[str, frozenset[str] | None]) -> None:
        self.problems: list[ModelListingProblem] = []
        self._wanted = wanted
        self._trees: dict[str, dict[str, list[ModelEntry]]] = {}
        self._entered = 0

    def files_by_suffix(self, directory: str) -> dict[str, list[ModelEntry]]:
        """Return the files below a directory by lower-case suffix without dot; empty when it does not exist."""
        if directory not in self._trees:
            self._trees[directory] = self._list_tree(directory)
        return self._trees[directory]

    def _list_tree(self, directory: str) -> dict[str, list[ModelEntry]]:
        wanted = self._wanted[directory]
        if wanted is not None and FOLDER_EXTENSION in wanted:
            wanted |= {"json"}  # a diffusers model is recognised by its index file
        tree = _ModelTree(wanted)
        pending = [(directory, "")]
        while pending:
            path, prefix = pending.pop()
            self._entered += 1
            if self._entered > MAX_FOLDERS:
                self._report(directory, f"more than {MAX_FOLDERS} folders; the rest was not listed")
                break
            try:
                pending.extend(self._list_folder(path, prefix, tree))
            except FileNotFoundError:
                continue
            except OSError as error:
                # ComfyUI ignores a file in the place of a model folder, too.
                if path != directory or not isinstance(error, NotADirectoryError):
                    self._report(path, f"cannot be listed: {error.strerror}")
        if tree.unfinished:
            _mark_unfinished(tree)
        return tree.by_suffix

    def _list_folder(self, path: str, prefix: str, tree: _ModelTree) -> Iterator[tuple[str, str]]:
        """Add the files of one folder to the tree; yield the path and name prefix of each subfolder to enter."""
        with os.scandir(path) as items:
            for item in items:
                name = item.name
                if is_folder(item):
                    if name not in _EXCLUDED and self._may_enter(item, depth=prefix.count("/")):
                        yield item.path, f"{prefix}{name}/"
                    continue
                if name.endswith(_ARIA2_SUFFIX):
                    tree.unfinished.add(prefix + name.removesuffix(_ARIA2_SUFFIX))
                    continue
                suffix = _match_suffix(name, tree.wanted)
                if suffix is not None and self._is_usable_name(item):
                    tree.by_suffix.setdefault(suffix, []).append(_read_entry(item, prefix + name))

    def _may_enter(self, item: os.DirEntry[str], *, depth: int) -> bool:
        """Return whether a directory does not contain itself; only a symbolic link can."""
        if not self._is_usable_name(item):
            return False
        if not item.is_symlink():
            return True
        target = item.stat()
        for ancestor in list(Path(item.path).parents)[: depth + 1]:
            status = ancestor.stat()
            if (status.st_dev, status.st_ino) == (target.st_dev, target.st_ino):
                self._report(item.path, "is a link to a folder that contains it; it was not followed")
                return False
        return True

    def _is_usable_name(self, item: os.DirEntry[str]) -> bool:
        name = item.name
        if name.isascii() and name.isprintable():
            return True
        try:
            name.encode("utf-8")
        except UnicodeEncodeError:
            self._report(item.path, "has a name that is not UTF-8; no workflow can name it")
            return False
        if not name.isprintable():
            self._report(item.path, "has a name with unprintable characters")
        return True

    def _report(self, path: str, reason: str) -> None:
        self.problems.append(ModelListingProblem(printable_path(path), reason))


def _match_suffix(name: str, wanted: frozenset[str] | None) -> str | None:
    """Return the suffix under which a file is kept; None for a file that no folder looks for."""
    stem, dot, suffix = name.rpartition(".")
    # As for os.path.splitext, which ComfyUI uses, leading dots begin no suffix: ".hidden" and "..ckpt" have none.
    if not dot or not stem.strip("."):
        suffix = ""
    if wanted is None or suffix not in wanted:
        suffix = suffix.lower()
        if wanted is not None and suffix not in wanted:
            return None
    if suffix in _UNFINISHED_SUFFIXES or (not suffix and _is_placeholder(name)):
        return None
    return suffix


def _is_placeholder(name: str) -> bool:
    """Return whether this is one of the empty files that ComfyUI ships to show the purpose of a folder."""
    return name.startswith("put_") and name.endswith("_here")


def _mark_unfinished(tree: _ModelTree) -> None:
    """Give files with an aria2 control file their problem.

    aria2 allocates a file under its final name and with its full size before it has the bytes, so only the control
    file shows that it is incomplete (https://aria2.github.io/manual/en/html/aria2c.html#control-file).
    """
    for entries in tree.by_suffix.values():
        for position, entry in enumerate(entries):
            if entry.name in tree.unfinished and entry.problem is None:
                entries[position] = msgspec.structs.replace(entry, problem=_UNFINISHED_TEXT, problem_code=UNFINISHED)


def _read_entry(item: os.DirEntry[str], name: str) -> ModelEntry:
    try:
        status = item.stat()
    except OSError as error:
        return ModelEntry(name, item.path, 0, 0, 0, 0, _describe_stat_error(item, error), UNREADABLE)
    problem: str | None = None
    code: EntryProblemCode | None = None
    if not stat.S_ISREG(status.st_mode):
        problem, code = "not a regular file", UNREADABLE
    return ModelEntry(name, item.path, status.st_size, status.st_mtime_ns, status.st_dev, status.st_ino, problem, code)


def _describe_stat_error(item: os.DirEntry[str], error: OSError) -> str:
    if isinstance(error, FileNotFoundError) and item.is_symlink():
        return f"a link to {printable_path(os.readlink(item.path))}, which does not exist"
    return f"cannot be read: {error.strerror}"
