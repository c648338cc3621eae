"""Stores the facts of node packs, so that only changed packs are read again."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.comfyui.loaders.tiny_vaes import read_tiny_vaes
from comfywatchman.comfyui.packs.definitions import list_core_files, read_core_definitions
from comfywatchman.comfyui.packs.metadata import (
    READER_VERSION,
    NodePack,
    build_core_pack,
    read_git_state,
    read_pack,
    refresh_pack,
)
from comfywatchman.comfyui.packs.replacements import read_replacements
from comfywatchman.comfyui.packs.scan import PackListing, fingerprint_files
from comfywatchman.comfyui.static_analysis.server_checks import list_check_files
from comfywatchman.readiness.database import Database, TableStore

_DECODER: Final = msgspec.msgpack.Decoder(NodePack)
_ENCODER: Final = msgspec.msgpack.Encoder()
_CORE_PREFIX: Final = b"core:"
"""Marks the row of ComfyUI itself, which no pack's absolute path can look like."""
_SELECT: Final = "SELECT path, fingerprint, git_fingerprint, facts FROM pack"
_DELETE: Final = "DELETE FROM pack WHERE path = ?"
_INSERT: Final = "INSERT OR REPLACE INTO pack (path, fingerprint, git_fingerprint, facts) VALUES (?, ?, ?, ?)"


class _PackRow(msgspec.Struct, frozen=True):
    """A pack with the fingerprints of the files and the git state that it was read from."""

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
        """Problems of the database, for people; the packs are then read from their source."""
        return tuple(self._store.problems)

    def read_packs(self, listings: Iterable[PackListing]) -> tuple[NodePack, ...]:
        """Return the facts of every listed pack; only changed ones are read, and rows of removed ones are deleted.

        A pack that cannot be looked at keeps its stored facts.

        Source is read when a pack's own files changed, git when they or its git state changed.
        """
        stored = {path: row for path, row in self._read_rows(_SELECT).items() if not path.startswith(_CORE_PREFIX)}
        packs: list[NodePack] = []
        changed: dict[bytes, _PackRow] = {}
        for listing in listings:
            path = os.fsencode(listing.path)
            stored_row = stored.pop(path, None)
            if stored_row is not None and listing.is_hidden:
                # What it held before is the best that is known of it.
                packs.append(msgspec.structs.replace(stored_row.pack, enabled=listing.enabled))
                continue
            pack = _read_if_changed(listing, stored_row)
            packs.append(pack)
            row = _PackRow(_add_reader_version(listing.fingerprint), listing.git_fingerprint, pack)
            if row != stored_row:
                changed[path] = row
        self._write_rows(changed, removed=list(stored))
        return tuple(packs)

    def read_core(self, root: Path, version: str | None) -> NodePack | None:
        """Return ComfyUI's own classes as a pack, read only when its source changed; None without source."""
        files = list_core_files(root)
        if not files:
            return None
        key = _CORE_PREFIX + os.fsencode(root)
        fingerprint = _add_reader_version(fingerprint_files([*files, *list_check_files(root)]))
        stored_row = self._read_rows(f"{_SELECT} WHERE path = ?", (key,)).get(key)
        if stored_row is not None and stored_row.fingerprint == fingerprint and stored_row.pack.version == version:
            return stored_row.pack
        core = build_core_pack(
            read_core_definitions(root),
            root=root,
            version=version,
            replacements=read_replacements(root),
            tiny_vaes=read_tiny_vaes(root),
        )
        self._write_rows({key: _PackRow(fingerprint, "", core)}, removed=[])
        return core

    def _read_rows(self, query: str, values: tuple[bytes, ...] = ()) -> dict[bytes, _PackRow]:
        rows: dict[bytes, _PackRow] = {}
        for path, fingerprint, git_fingerprint, encoded_pack in self._store.read(query, values):
            try:
                rows[path] = _PackRow(fingerprint, git_fingerprint, _DECODER.decode(encoded_pack))
            except (msgspec.ValidationError, msgspec.DecodeError):
                continue  # written by another version of this program: the pack is read again
        return rows

    def _write_rows(self, changed: dict[bytes, _PackRow], *, removed: list[bytes]) -> None:
        if not changed and not removed:
            return  # an unchanged host writes nothing
        removed_values = [(path,) for path in removed]
        changed_values = [
            (path, row.fingerprint, row.git_fingerprint, _ENCODER.encode(row.pack)) for path, row in changed.items()
        ]
        self._store.write([(_DELETE, removed_values), (_INSERT, changed_values)])


def _read_if_changed(listing: PackListing, stored_row: _PackRow | None) -> NodePack:
    if stored_row is None or stored_row.fingerprint != _add_reader_version(listing.fingerprint):
        return read_pack(listing, read_git_state(listing))
    if stored_row.git_fingerprint != listing.git_fingerprint:
        return refresh_pack(stored_row.pack, listing, read_git_state(listing))
    return stored_row.pack


def _add_reader_version(fingerprint: str) -> str:
    # A newer reader may find more in the same files.
    return f"{READER_VERSION}:{fingerprint}"
