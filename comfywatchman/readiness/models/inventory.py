"""The models of this host: what lies in which folder, and which of it could be loaded."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cached_property
from typing import Protocol

import msgspec

from comfywatchman.base.files import to_nfc
from comfywatchman.comfyui.install.folders import DIFFUSERS
from comfywatchman.comfyui.models.file import HeaderFacts, check_header
from comfywatchman.comfyui.models.suffixes import get_suffix
from comfywatchman.readiness.models.scan import ModelEntry, ModelListing, ModelListingProblem

HeaderKey = tuple[int, int, int, int, str]
"""Device, inode, size, mtime_ns and suffix; the suffix, because it decides how ComfyUI would load the file."""

FileKey = tuple[int, int, int, int]
"""Device, inode, size and mtime_ns: what says that a file's content is still the one that was read."""


def build_file_key(found: os.stat_result) -> FileKey:
    """Return what a file's hashes are kept under."""
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


class ModelFile(msgspec.Struct, frozen=True, gc=False):
    """One model that ComfyUI would list.

    Attributes:
        folder: Canonical name of the model folder.
        name: Relative name with `/`, exactly as ComfyUI lists it on this system.
        path: Absolute path as text, symbolic links as they stand.
        size: In bytes, of what a link leads to.
        mtime_ns: Its time of change.
        device: `st_dev`.
        inode: `st_ino`.
        format: See `HeaderFacts.format`.
        problem: Why it could not be loaded, in words; None is healthy or unknown.
        problem_code: The same for programs; see `HeaderFacts.problem_code`, and `unreadable` for a link to nowhere.
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
        """What the file's hashes are kept under."""
        return (self.device, self.inode, self.size, self.mtime_ns)


class HeaderCache(Protocol):
    """What an inventory asks of the index: header facts of earlier cycles."""

    def headers(self) -> Mapping[HeaderKey, HeaderFacts]:
        """Return all facts that are known."""

    def remember_headers(self, facts: Mapping[HeaderKey, HeaderFacts]) -> None:
        """Keep facts that were read just now."""


class Inventory:
    """What the model folders hold; reading only.

    Args:
        folders: Models by canonical folder name and relative name.
        problems: Places that could not be listed.
        header_keys: Under which keys the index knows these models.
        read_headers: How many files had to be opened for this.
        targets: Where a new model of a folder belongs, where that is not `models/<folder>`.
    """

    def __init__(
        self,
        folders: Mapping[str, Mapping[str, ModelFile]],
        problems: tuple[ModelListingProblem, ...] = (),
        *,
        header_keys: Collection[HeaderKey] = (),
        read_headers: int = 0,
        targets: Mapping[str, str] | None = None,
    ) -> None:
        self.folders = folders
        self._targets = targets or {}
        self.problems = problems
        self.header_keys = header_keys
        self.read_headers = read_headers

    def exact(self, folder: str, name: str) -> ModelFile | None:
        """Return the model of this very name, letter case and separators included; None when there is none."""
        return self.in_folder(folder).get(name)

    def target(self, folder: str) -> str:
        """Return where a new model of a folder belongs, as a person would write it."""
        return self._targets.get(folder, f"models/{folder}")

    def in_folder(self, folder: str) -> Mapping[str, ModelFile]:
        """Return a folder's models by relative name, sorted; empty for a folder that nobody has named."""
        return self.folders.get(folder, {})

    def all_models(self) -> Iterator[ModelFile]:
        """Yield the models of all folders; a file that several folders list comes for each of them."""
        for models in self.folders.values():
            yield from models.values()

    def by_basename(self, name_lower: str) -> tuple[ModelFile, ...]:
        """Return the models of all folders whose last part is this name, letter case and Unicode form ignored.

        Args:
            name_lower: A file name without folders, lower-cased with `str.lower`.
        """
        return self._by_basename.get(to_nfc(name_lower), ())

    @cached_property
    def fingerprint(self) -> str:
        """A digest of everything listed: it changes when any name, place, size, time or finding does."""
        digest = hashlib.blake2b(digest_size=16)
        encode = msgspec.msgpack.Encoder().encode
        for folder, models in self.folders.items():
            rows = [
                (m.name, os.fsencode(m.path), m.size, str(m.mtime_ns), m.device, m.inode, m.format, m.problem)
                for m in models.values()
            ]
            digest.update(encode((folder, rows)))
        return digest.hexdigest()

    @cached_property
    def _by_basename(self) -> dict[str, tuple[ModelFile, ...]]:
        found: dict[str, list[ModelFile]] = {}
        for model in self.all_models():
            found.setdefault(to_nfc(model.name.rpartition("/")[2].lower()), []).append(model)
        return {name: tuple(models) for name, models in found.items()}


def build_inventory(
    listing: ModelListing,
    memory: HeaderCache,
    *,
    check: Callable[[str, int], HeaderFacts] = check_header,
    targets: Mapping[str, str] | None = None,
) -> Inventory:
    """Join a listing with what is known of the files' headers; only new and changed files are opened.

    Args:
        listing: From `walk_models`.
        memory: Header facts of earlier cycles; what is read now is handed to it in one batch.
        check: Reads one header: path and size.
        targets: Where a new model of a folder belongs, where that is not `models/<folder>`.
    """
    known = memory.headers()
    fresh: dict[HeaderKey, HeaderFacts] = {}
    seen: set[HeaderKey] = set()
    folders: dict[str, dict[str, ModelFile]] = {}
    for folder, entries in listing.folders.items():
        models = folders[folder] = {}
        for name, entry in entries.items():
            key = _build_header_key(folder, entry)
            seen.add(key)
            facts = known.get(key) or fresh.get(key)
            if facts is None:
                facts = _read_header(folder, entry, check)
                if facts.problem_code != "unreadable":
                    fresh[key] = facts
            models[name] = _build_model(folder, entry, facts)
    if fresh:
        memory.remember_headers(fresh)
    return Inventory(folders, listing.problems, header_keys=seen, read_headers=len(fresh), targets=targets)


def _build_header_key(folder: str, entry: ModelEntry) -> HeaderKey:
    suffix = DIFFUSERS if folder == DIFFUSERS else get_suffix(entry.name)
    return (entry.device, entry.inode, entry.size, entry.mtime_ns, suffix)


def _read_header(folder: str, entry: ModelEntry, check: Callable[[str, int], HeaderFacts]) -> HeaderFacts:
    if entry.problem is not None:
        return HeaderFacts("unknown", entry.problem, "unreadable")
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
