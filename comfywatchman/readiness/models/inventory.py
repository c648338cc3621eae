"""The models of this host: which files each model folder has, and which of them ComfyUI could load."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cached_property
from typing import Final, Protocol

import msgspec

from comfywatchman.base.files import to_nfc
from comfywatchman.comfyui.install.folders import DIFFUSERS
from comfywatchman.comfyui.models.file import HeaderFacts, check_header
from comfywatchman.comfyui.models.suffixes import get_suffix
from comfywatchman.readiness.models.scan import ModelEntry, ModelListing, ModelListingProblem

HeaderKey = tuple[int, int, int, int, str]
"""Device, inode, size, mtime_ns and suffix. The suffix counts because it decides how ComfyUI loads the file."""

FileKey = tuple[int, int, int, int]
"""Device, inode, size and mtime_ns: while these stay the same, the content counts as unchanged."""

# A file that could not be read is read again in each cycle: permissions and disks change without the file changing.
_NOT_CACHED: Final = frozenset({"unreadable", "unfinished"})


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
        problem_code: A code of `HeaderFacts.problem_code`, or `unreadable` or `unfinished` from the scan.
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
        unlisted: Why not every directory with models is known, with what to do; empty when all are.
    """

    def __init__(
        self,
        folders: Mapping[str, Mapping[str, ModelFile]],
        problems: tuple[ModelListingProblem, ...] = (),
        *,
        header_keys: Collection[HeaderKey] = (),
        read_headers: int = 0,
        targets: Mapping[str, str] | None = None,
        unlisted: str = "",
    ) -> None:
        self.folders = folders
        self._targets = targets or {}
        self._unlisted = unlisted
        self.problems = problems
        self.header_keys = header_keys
        self.read_headers = read_headers

    def exact(self, folder: str, name: str) -> ModelFile | None:
        """Return the model with exactly this name, letter case and separators included; None when there is none."""
        return self.in_folder(folder).get(name)

    def target(self, folder: str) -> str:
        """Return where a new model of a folder belongs, as a person would write it."""
        return self._targets.get(folder, f"models/{folder}")

    def incomplete_reason(self) -> str | None:
        """Return why models of any folder may be missing from this listing, with what to do; None when it is whole."""
        return self._unlisted or None

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
    )


def build_inventory(
    listing: ModelListing,
    cache: HeaderCache,
    *,
    check: Callable[[str, int], HeaderFacts] = check_header,
    targets: Mapping[str, str] | None = None,
    unlisted: str = "",
) -> Inventory:
    """Combine a listing with the known header facts; only new and changed files are opened.

    Args:
        listing: Result of `scan_models`.
        cache: Header facts of earlier cycles; newly read facts are stored there in one batch.
        check: Reads the header of a path with a size.
        targets: Where a new model of a folder belongs, when that is not `models/<folder>`.
        unlisted: Why not every directory with models is known, with what to do.
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
            facts = known.get(key) or new_facts.get(key)
            if facts is None:
                facts = _read_header(folder, entry, check)
                if facts.problem_code not in _NOT_CACHED:
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
        unlisted=unlisted,
    )


def _build_header_key(folder: str, entry: ModelEntry) -> HeaderKey:
    suffix = get_suffix(entry.name)
    # The entry of a diffusers model stands for its folder, whose name may end in any suffix.
    if folder == DIFFUSERS:
        suffix = DIFFUSERS
    return (entry.device, entry.inode, entry.size, entry.mtime_ns, suffix)


def _read_header(folder: str, entry: ModelEntry, check: Callable[[str, int], HeaderFacts]) -> HeaderFacts:
    if entry.problem is not None:
        return HeaderFacts("unknown", entry.problem, entry.problem_code)
    if folder == DIFFUSERS:
        return HeaderFacts("diffusers")
    return check(entry.path, entry.size)


def _build_model(folder: str, entry: ModelEntry, facts: HeaderFacts) -> ModelFile:
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
    )
