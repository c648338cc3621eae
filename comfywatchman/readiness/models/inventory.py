"""The models of this host: which files each model folder has, and which of them ComfyUI could load."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Protocol

import msgspec

from comfywatchman.base.files import printable_path, to_nfc
from comfywatchman.comfyui.install.folders import DIFFUSERS
from comfywatchman.comfyui.install.reachability import Obstacle, ObstacleKind
from comfywatchman.comfyui.models.file import HeaderFacts, check_header
from comfywatchman.comfyui.models.suffixes import get_suffix
from comfywatchman.readiness.models.entry import UNREADABLE, ModelEntry
from comfywatchman.readiness.models.listing import CompleteListing, FolderListing, find_obstacle
from comfywatchman.readiness.models.scan import ModelListing, ModelListingProblem

HeaderKey = tuple[int, int, int, int, str]
"""Device, inode, size, mtime_ns and suffix. The suffix counts because it decides how ComfyUI loads the file."""

FileKey = tuple[int, int, int, int]
"""Device, inode, size and mtime_ns: while these stay the same, the content counts as unchanged."""


def build_file_key(status: os.stat_result) -> FileKey:
    """Return the key of a file's hashes in the index."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


class ModelFile(msgspec.Struct, frozen=True, gc=False):
    """One model that ComfyUI would list.

    Attributes:
        folder: Canonical name of the model folder.
        name: Relative name with `/`, exactly as ComfyUI lists it on this system.
        path: Absolute path as text; symbolic links are not resolved.
        size: Size in bytes of the link's target.
        mtime_ns: Modification time of the link's target.
        device: `st_dev`.
        inode: `st_ino`.
        format: See `HeaderFacts.format`.
        problem: Why it cannot be loaded, for people; None means healthy or unknown.
        problem_code: A code of `HeaderFacts.problem_code`, or of `ModelEntry.problem_code` from the scan.
        obstacle: Why it could not be looked at; only for `unreadable`.
    """

    folder: str
    name: str
    path: str
    size: int
    mtime_ns: int
    device: int
    inode: int
    format: str
    problem: str | None
    problem_code: str | None
    obstacle: Obstacle | None = None

    @property
    def key(self) -> FileKey:
        """Key of the file's hashes in the index."""
        return (self.device, self.inode, self.size, self.mtime_ns)


class HeaderCache(Protocol):
    """The part of the model index that `build_inventory` needs: header facts of earlier cycles."""

    def headers(self) -> Mapping[HeaderKey, HeaderFacts]:
        """Return all known facts."""

    def remember_headers(self, facts: Mapping[HeaderKey, HeaderFacts]) -> None:
        """Store newly read facts."""


class Inventory:
    """Read-only view of all models.

    Args:
        folders: Models by canonical folder name and relative name.
        problems: Folders that could not be listed.
        header_keys: Keys of these models in the index.
        read_headers: Number of files opened to build this inventory.
        targets: Where a new model of a folder belongs, when that is not `models/<folder>`.
        listings: What was listed of each folder; a folder without an entry was not looked for.
        hidden: Why not every directory with models is known; None when all are.
    """

    def __init__(
        self,
        folders: Mapping[str, Mapping[str, ModelFile]],
        problems: tuple[ModelListingProblem, ...] = (),
        *,
        header_keys: Collection[HeaderKey] = (),
        read_headers: int = 0,
        targets: Mapping[str, str] | None = None,
        listings: Mapping[str, FolderListing] | None = None,
        hidden: Obstacle | None = None,
    ) -> None:
        self.folders = folders
        self._targets = targets or {}
        self._listings = listings or {}
        self._hidden = hidden
        self.problems = problems
        self.header_keys = header_keys
        self.read_headers = read_headers

    def exact(self, folder: str, name: str) -> ModelFile | None:
        """Return the model with exactly this name, letter case and separators included; None when there is none."""
        return self.in_folder(folder).get(name)

    def by_prefix(self, folder: str, prefix: str) -> ModelFile | None:
        """Return the first model of a folder whose relative name begins with a text; None when there is none."""
        return next((model for name, model in self.in_folder(folder).items() if name.startswith(prefix)), None)

    def target(self, folder: str) -> str:
        """Return where a new model of a folder belongs, as a person would write it."""
        return self._targets.get(folder, f"models/{folder}")

    def check_listing(self, folders: Sequence[str], names: Sequence[str]) -> CompleteListing | Obstacle:
        """Return the proof that folders were listed wherever one of some names may be, or why they were not.

        Args:
            folders: Canonical folder names; all folders when there are none.
            names: Names of models, with `/`.
        """
        if self._hidden is not None:
            return self._hidden
        wanted = folders or tuple(self._listings)
        for folder in wanted:
            if folder not in self._listings:
                return Obstacle(ObstacleKind.FOLDER_NOT_KNOWN, self.target(folder))
        listings = tuple(self._listings[folder] for folder in wanted)
        return find_obstacle(names, listings) or CompleteListing(tuple(names), listings)

    def in_folder(self, folder: str) -> Mapping[str, ModelFile]:
        """Return a folder's models by relative name, sorted; empty for an unknown folder."""
        return self.folders.get(folder, {})

    def all_models(self) -> Iterator[ModelFile]:
        """Yield the models of all folders; a file that several folders list is yielded for each of them."""
        for models in self.folders.values():
            yield from models.values()

    def by_basename(self, name_lower: str) -> tuple[ModelFile, ...]:
        """Return the models of all folders with this file name, ignoring letter case and Unicode form.

        Args:
            name_lower: A file name without folders, lower-cased with `str.lower`.
        """
        return self._by_basename.get(to_nfc(name_lower), ())

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the inventory; changes with any name, path, size, time or problem."""
        digest = hashlib.blake2b(digest_size=16)
        encode = msgspec.msgpack.Encoder().encode
        for folder, models in self.folders.items():
            rows = [_build_fingerprint_row(model) for model in models.values()]
            digest.update(encode((folder, rows)))
        gaps = {folder: listing.gaps for folder, listing in self._listings.items() if listing.gaps}
        digest.update(encode((gaps, self._hidden)))
        return digest.hexdigest()

    @cached_property
    def _by_basename(self) -> dict[str, tuple[ModelFile, ...]]:
        groups: dict[str, list[ModelFile]] = {}
        for model in self.all_models():
            basename = model.name.rpartition("/")[2]
            groups.setdefault(to_nfc(basename.lower()), []).append(model)
        return {name: tuple(models) for name, models in groups.items()}


def _build_fingerprint_row(model: ModelFile) -> tuple[object, ...]:
    return (
        model.name,
        os.fsencode(model.path),
        model.size,
        str(model.mtime_ns),  # as text: a time far in the future exceeds the 64 bits of msgpack
        model.device,
        model.inode,
        model.format,
        model.problem,
        model.problem_code,
        model.obstacle,
    )


def build_inventory(
    listing: ModelListing,
    cache: HeaderCache,
    *,
    check: Callable[[str, int], HeaderFacts] = check_header,
    targets: Mapping[str, str] | None = None,
    hidden: Obstacle | None = None,
) -> Inventory:
    """Combine a listing with the known header facts; only new and changed files are opened.

    Args:
        listing: Result of `scan_models`.
        cache: Header facts of earlier cycles; newly read facts are stored there in one batch.
        check: Reads the header of a path with a size.
        targets: Where a new model of a folder belongs, when that is not `models/<folder>`.
        hidden: Why not every directory with models is known; None when all are.
    """
    known = cache.headers()
    new_facts: dict[HeaderKey, HeaderFacts] = {}
    seen: set[HeaderKey] = set()
    folders: dict[str, dict[str, ModelFile]] = {}
    for folder, entries in listing.folders.items():
        models = folders[folder] = {}
        for name, entry in entries.items():
            key = _build_header_key(folder, entry)
            seen.add(key)
            # Permissions, links and control files change without the file: no fact of an earlier cycle goes before.
            if entry.problem is not None:
                models[name] = _build_model(folder, entry, HeaderFacts("unknown", entry.problem, entry.problem_code))
                continue
            facts = known.get(key) or new_facts.get(key)
            if facts is None:
                facts = _read_header(folder, entry, check)
                if facts.problem_code != UNREADABLE:
                    new_facts[key] = facts
            models[name] = _build_model(folder, entry, facts)
    if new_facts:
        cache.remember_headers(new_facts)
    return Inventory(
        folders,
        listing.problems,
        header_keys=seen,
        read_headers=len(new_facts),
        targets=targets,
        listings=listing.listings,
        hidden=hidden,
    )


def _build_header_key(folder: str, entry: ModelEntry) -> HeaderKey:
    suffix = get_suffix(entry.name)
    # The entry of a diffusers model stands for its folder, whose name may end in any suffix.
    if folder == DIFFUSERS:
        suffix = DIFFUSERS
    return (entry.device, entry.inode, entry.size, entry.mtime_ns, suffix)


def _read_header(folder: str, entry: ModelEntry, check: Callable[[str, int], HeaderFacts]) -> HeaderFacts:
    if folder == DIFFUSERS:
        return HeaderFacts("diffusers")
    return check(entry.path, entry.size)


def _build_model(folder: str, entry: ModelEntry, facts: HeaderFacts) -> ModelFile:
    obstacle = entry.obstacle
    if facts.problem_code == UNREADABLE and obstacle is None:
        obstacle = Obstacle(ObstacleKind.UNREADABLE, printable_path(entry.path), facts.problem or "")
    return ModelFile(
        folder,
        entry.name,
        entry.path,
        entry.size,
        entry.mtime_ns,
        entry.device,
        entry.inode,
        facts.format,
        facts.problem,
        facts.problem_code,
        obstacle,
    )
