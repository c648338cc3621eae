"""Scan the model folders: list every model file with one `stat` each, without opening any."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.files import is_folder, printable_path
from comfywatchman.comfyui.install.folders import FOLDER_EXTENSION, ModelFolder, ModelFolders
from comfywatchman.comfyui.install.reachability import (
    IMPOSSIBLE_TARGET,
    NO_SUCH_TARGET,
    Obstacle,
    ObstacleKind,
    build_link_obstacle,
    build_mount_obstacle,
    describe_problem,
    explain_error,
    explain_missing_folder,
    find_mount_obstacle,
    list_unmounted,
)
from comfywatchman.readiness.models.entry import (
    UNFINISHED,
    ModelEntry,
    is_skipped,
    read_entry,
)
from comfywatchman.readiness.models.listing import FolderListing, ListingGap

MAX_FOLDERS: Final = 200_000
"""Limit on the directories of one scan: symbolic links that fan out can turn any small tree into a huge one."""

_UNFINISHED_TEXT: Final = "aria2 has not finished downloading it: its control file is still there"

_EXCLUDED: Final = frozenset({".git"})
_UNFINISHED_SUFFIXES: Final = frozenset(
    {"part", "partial", "tmp", "temp", "crdownload", "download", "incomplete", "lock"}
)
_DIFFUSERS_INDEX: Final = "model_index.json"
_ARIA2_SUFFIX: Final = ".aria2"


class ModelListingProblem(msgspec.Struct, frozen=True):
    """A folder that could not be listed, or a file name that no workflow can contain.

    Attributes:
        path: Printable form of the path.
        reason: Description of the problem.
    """

    path: str
    reason: str


class ModelListing(msgspec.Struct, frozen=True):
    """Result of a scan.

    Attributes:
        folders: The entries of each folder by name, sorted.
        problems: The problems met.
        listings: What of each folder was listed, and what not.
    """

    folders: dict[str, dict[str, ModelEntry]]
    problems: tuple[ModelListingProblem, ...]
    listings: dict[str, FolderListing]


def scan_models(folders: ModelFolders, *, unmounted: Iterable[str] | None = None) -> ModelListing:
    """List every model file as ComfyUI would, without opening any.

    Links are followed; a link to a directory that contains it is skipped and reported. When a folder has several
    directories, the first one that has a name wins, but a broken link or FIFO never hides a file, as in ComfyUI.

    Args:
        folders: The model folders.
        unmounted: Mount points without their disks; None for those of this host.
    """
    mount_points = list_unmounted() if unmounted is None else tuple(unmounted)
    walk = _ModelWalk(_collect_suffixes(folders), _find_bases(folders), mount_points)
    entries_by_folder: dict[str, dict[str, ModelEntry]] = {}
    listings: dict[str, FolderListing] = {}
    for name in folders.names():
        folder = folders.folders[name]
        entries_by_folder[name] = dict(sorted(_list_entries(folder, walk).items()))
        directories = [str(directory) for directory in folder.directories]
        gaps = [gap for directory in directories for gap in walk.tree(directory).gaps]
        listings[name] = FolderListing(tuple(directories), tuple(dict.fromkeys(gaps)))
    return ModelListing(entries_by_folder, tuple(walk.problems), listings)


def _find_bases(folders: ModelFolders) -> dict[str, str]:
    bases: dict[str, str] = {}
    for folder in folders.folders.values():
        for directory in folder.directories:
            base = folders.find_base(directory)
            if base is not None:
                bases[str(directory)] = str(base)
    return bases


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
        by_suffix = walk.tree(str(directory)).by_suffix
        for suffix in _strip_dots(folder.extensions) or by_suffix.keys():
            _add_entries(entries, by_suffix.get(suffix, ()))
    return entries


def _list_diffusers(folder: ModelFolder, walk: _ModelWalk) -> dict[str, ModelEntry]:
    entries: dict[str, ModelEntry] = {}
    for directory in folder.directories:
        json_files = walk.tree(str(directory)).by_suffix.get("json", ())
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
        if is_skipped(earlier) and entry.problem is None:
            known[entry.name] = entry


@dataclass(slots=True)
class _ModelTree:
    """Files below one directory.

    Attributes:
        wanted: Suffixes to keep; None for all.
        by_suffix: Kept files by lower-case suffix without dot.
        unfinished: Relative names of the files that have an aria2 control file beside them.
        gaps: Folders that could not be listed.
    """

    wanted: frozenset[str] | None
    gaps: list[ListingGap] = field(default_factory=list)
    by_suffix: dict[str, list[ModelEntry]] = field(default_factory=dict)
    unfinished: set[str] = field(default_factory=set)


class _ModelWalk:
    """Directory trees, each listed once, however many folders share them."""

    def __init__(
        self,
        wanted: Mapping[str, frozenset[str] | None],
        bases: Mapping[str, str],
        unmounted: tuple[str, ...],
    ) -> None:
        self.problems: list[ModelListingProblem] = []
        self._wanted = wanted
        self._bases = bases
        self._unmounted = unmounted
        self._trees: dict[str, _ModelTree] = {}
        self._entered = 0

    def tree(self, directory: str) -> _ModelTree:
        """Return the files below a directory; none when it does not exist."""
        if directory not in self._trees:
            self._trees[directory] = self._list_tree(directory)
        return self._trees[directory]

    def _list_tree(self, directory: str) -> _ModelTree:
        wanted = self._wanted[directory]
        if wanted is not None and FOLDER_EXTENSION in wanted:
            wanted |= {"json"}  # a diffusers model is recognised by its index file
        tree = _ModelTree(wanted)
        pending = [(directory, "")]
        while pending:
            path, prefix = pending.pop()
            self._entered += 1
            if self._entered > MAX_FOLDERS:
                reason = f"more than {MAX_FOLDERS} folders; the rest was not listed"
                self._add_gap(tree, "", Obstacle(ObstacleKind.TOO_MANY_FOLDERS, printable_path(directory), reason))
                break
            try:
                pending.extend(self._list_folder(path, prefix, tree))
            except OSError as error:
                # A subfolder that does not exist was deleted during the scan; ComfyUI ignores a file in the place of
                # a model folder.
                if error.errno not in NO_SUCH_TARGET:
                    self._add_gap(tree, prefix, explain_error(path, error))
        self._add_hidden_disks(directory, tree)
        if tree.unfinished:
            _mark_unfinished(tree)
        return tree

    def _add_hidden_disks(self, directory: str, tree: _ModelTree) -> None:
        """Add gaps for the models that may lie on disks that are not mounted."""
        resolved = os.path.realpath(directory)
        for mount_point in self._unmounted:
            if mount_point.startswith(f"{resolved}/"):
                prefix = f"{mount_point.removeprefix(resolved).lstrip('/')}/"
                self._add_gap(tree, prefix, build_mount_obstacle(mount_point))
        # Nothing at all is listed for a directory that does not exist, too.
        if not tree.by_suffix and not tree.gaps:
            obstacle = explain_missing_folder(directory, self._bases.get(directory))
        else:
            obstacle = None
        obstacle = obstacle or find_mount_obstacle(resolved, self._unmounted)
        if obstacle is not None:
            self._add_gap(tree, "", obstacle)

    def _add_gap(self, tree: _ModelTree, prefix: str, obstacle: Obstacle) -> None:
        tree.gaps.append(ListingGap(prefix, obstacle))
        self._report(obstacle.path, describe_problem(obstacle))

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
                if suffix is None:
                    self._add_broken_folder_link(item, prefix, tree)
                elif self._is_usable_name(item):
                    entry = read_entry(item, prefix + name, self._unmounted)
                    if entry is not None:
                        tree.by_suffix.setdefault(suffix, []).append(entry)

    def _add_broken_folder_link(self, item: os.DirEntry[str], prefix: str, tree: _ModelTree) -> None:
        """Add a gap for a link that may lead to a folder, but whose target cannot be looked at."""
        if not item.is_symlink():
            return
        try:
            item.stat()
        except OSError as error:
            if error.errno in NO_SUCH_TARGET:
                self._add_gap(tree, f"{prefix}{item.name}/", build_link_obstacle(item.path))
            elif error.errno not in IMPOSSIBLE_TARGET:
                self._add_gap(tree, f"{prefix}{item.name}/", explain_error(os.path.realpath(item.path), error))

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
        problem = ModelListingProblem(printable_path(path), reason)
        # One unmounted disk holds directories of many model folders.
        if problem not in self.problems:
            self.problems.append(problem)


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
