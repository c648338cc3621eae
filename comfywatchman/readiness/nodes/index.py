"""What was read of each custom node pack, kept so that only changed packs are read again."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.comfyui.packs.definitions import list_core_files, read_core_definitions
from comfywatchman.comfyui.packs.metadata import (
    READER_VERSION,
    NodePack,
    build_core_pack,
    read_git_state,
    read_pack,
    refresh_pack,
)
from comfywatchman.comfyui.packs.scan import PackListing, fingerprint_files
from comfywatchman.readiness.database import Database, TableStore

_DECODER: Final = msgspec.msgpack.Decoder(NodePack)
_ENCODER: Final = msgspec.msgpack.Encoder()
_CORE: Final = b"core:"
_SELECT: Final = "SELECT path, fingerprint, git_fingerprint, facts FROM pack"
_INSERT: Final = "INSERT OR REPLACE INTO pack (path, fingerprint, git_fingerprint, facts) VALUES (?, ?, ?, ?)"


class _PackRow(msgspec.Struct, frozen=True):
    """One row: a pack and what it depended on."""

    fingerprint: str
    git_fingerprint: str
    pack: NodePack


class PackIndex:
    """The packs of earlier cycles.

    Args:
        database: The open database.
    """

    def __init__(self, database: Database) -> None:
        self._store = TableStore(database, name="index of custom node packs")

    @property
    def problems(self) -> tuple[str, ...]:
        """Return what went wrong with the database, in words; the packs are then read from their source."""
        return tuple(self._store.problems)

    def packs(self, listings: Iterable[PackListing]) -> tuple[NodePack, ...]:
        """Return the facts of every listed pack, reading only those that changed, and forget packs that are gone.

        Source is read when a pack's own files changed; git is asked when they or its git state changed.
        """
        kept = {path: row for path, row in self._rows(_SELECT).items() if not path.startswith(_CORE)}
        packs: list[NodePack] = []
        changed: dict[bytes, _PackRow] = {}
        for listing in listings:
            path = os.fsencode(listing.path)
            before = kept.pop(path, None)
            pack = _read_if_changed(listing, before)
            packs.append(pack)
            row = _PackRow(_add_reader_version(listing.fingerprint), listing.git_fingerprint, pack)
            if row != before:
                changed[path] = row
        self._keep(changed, list(kept))
        return tuple(packs)

    def core(self, root: Path, version: str | None) -> NodePack | None:
        """Return ComfyUI's own classes in the shape of a pack, read when its source changed; None without source."""
        files = list_core_files(root)
        if not files:
            return None
        place = _CORE + os.fsencode(root)
        fingerprint = _add_reader_version(fingerprint_files(files))
        before = self._rows(f"{_SELECT} WHERE path = ?", (place,)).get(place)
        if before is not None and before.fingerprint == fingerprint and before.pack.version == version:
            return before.pack
        core = build_core_pack(read_core_definitions(root), root=root, version=version)
        self._keep({place: _PackRow(fingerprint, "", core)}, [])
        return core

    def _rows(self, query: str, values: tuple[bytes, ...] = ()) -> dict[bytes, _PackRow]:
        found: dict[bytes, _PackRow] = {}
        for path, fingerprint, git_fingerprint, facts in self._store.read(query, values):
            try:
                found[path] = _PackRow(fingerprint, git_fingerprint, _DECODER.decode(facts))
            except (msgspec.ValidationError, msgspec.DecodeError):
                continue  # written by another version of this program: the pack is read again
        return found

    def _keep(self, changed: dict[bytes, _PackRow], gone: list[bytes]) -> None:
        if not changed and not gone:
            return
        rows = [
            (path, row.fingerprint, row.git_fingerprint, _ENCODER.encode(row.pack)) for path, row in changed.items()
        ]
        self._store.write([("DELETE FROM pack WHERE path = ?", [(path,) for path in gone]), (_INSERT, rows)])


def _read_if_changed(listing: PackListing, before: _PackRow | None) -> NodePack:
    if before is None or before.fingerprint != _add_reader_version(listing.fingerprint):
        return read_pack(listing, read_git_state(listing))
    if before.git_fingerprint != listing.git_fingerprint:
        return refresh_pack(before.pack, listing, read_git_state(listing))
    return before.pack


def _add_reader_version(fingerprint: str) -> str:
    return f"{READER_VERSION}:{fingerprint}"
