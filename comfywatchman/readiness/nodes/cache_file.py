"""Writes `state/custom_nodes_cache.json`: the node packs of this host, for people and other programs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal

import msgspec

from comfywatchman.base.state.state_file import write_state
from comfywatchman.comfyui.install.identity import ComfyUIIdentity
from comfywatchman.comfyui.packs.metadata import NodePack

SCHEMA_VERSION: Final = 1


class CachedPack(msgspec.Struct, frozen=True):
    """One pack in `state/custom_nodes_cache.json`.

    Attributes:
        folder: Name in `custom_nodes`.
        path: Absolute path, printable.
        id: Comfy Registry id, else the folder's name.
        version: Version in its pyproject.toml, if any.
        publisher: Comfy Registry publisher in its pyproject.toml, if any.
        git_url: Its repository, without a password.
        git_commit: The commit that is checked out; null when the pack is not a repository of its own.
        dirty: Whether tracked files were modified; null when that is not known.
        enabled: Whether ComfyUI loads it.
        requirements: Declared Python packages.
        classes_count: How many node classes static analysis finds.
        complete: Whether these are all its classes; false when names are computed.
        problems: Files that could not be read, for people.
    """

    folder: str
    path: str
    id: str
    version: str | None
    publisher: str | None
    git_url: str | None
    git_commit: str | None
    dirty: bool | None
    enabled: bool
    requirements: tuple[str, ...]
    classes_count: int
    complete: bool
    problems: tuple[str, ...]


class PackCache(msgspec.Struct, frozen=True):
    """The whole file: the packs sorted by path, and the ComfyUI they are of."""

    schema_version: Literal[1]
    packs: tuple[CachedPack, ...]
    comfyui: ComfyUIIdentity


def write_pack_cache(path: Path, comfyui: ComfyUIIdentity, packs: Iterable[NodePack]) -> bool:
    """Write the file when its content has changed, and return whether it was written.

    Raises:
        Failure: `state-newer`, `state-unwritable`.
    """
    ordered = sorted(packs, key=lambda pack: pack.path)
    cache = PackCache(SCHEMA_VERSION, tuple(_build_cache_entry(pack) for pack in ordered), comfyui)
    return write_state(path, cache)


def _build_cache_entry(pack: NodePack) -> CachedPack:
    return CachedPack(
        folder=pack.folder,
        path=pack.path,
        id=pack.id,
        version=pack.version,
        publisher=pack.publisher,
        git_url=pack.url,
        git_commit=pack.git_commit,
        dirty=pack.dirty,
        enabled=pack.enabled,
        requirements=pack.requirements,
        classes_count=len(pack.classes),
        complete=pack.complete,
        problems=pack.problems,
    )
