"""What was read of each custom node pack, kept so that only changed packs are read again."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.comfyui.node_specs import core_files, read_core_specs
from comfywatchman.comfyui.pack_facts import READER_VERSION, Pack, git_facts, read_core, read_pack, renewed
from comfywatchman.comfyui.packs import PackListing, fingerprint_of_files
from comfywatchman.readiness.database import transaction

_DECODER: Final = msgspec.msgpack.Decoder(Pack)
_ENCODER: Final = msgspec.msgpack.Encoder()


class _Kept(msgspec.Struct, frozen=True):
    """One row: a pack and what it depended on."""

    fingerprint: str
    git_fingerprint: str
    pack: Pack


def installed_packs(connection: sqlite3.Connection, listings: Iterable[PackListing]) -> tuple[Pack, ...]:
    """Return the facts of every listed pack, reading only those that changed, and forget packs that are gone.

    Source is read when a pack's own files changed; git is asked when they or its git state changed.
    """
    kept = _kept_packs(connection)
    packs: list[Pack] = []
    changed: dict[bytes, _Kept] = {}
    for listing in listings:
        path = os.fsencode(listing.path)
        before = kept.pop(path, None)
        pack = _present(listing, before)
        packs.append(pack)
        if before is None or before.pack is not pack:
            changed[path] = _Kept(_keyed(listing.fingerprint), listing.git_fingerprint, pack)
    gone = [path for path, row in kept.items() if row.pack.id != "comfy-core"]
    _store(connection, changed, gone)
    return tuple(packs)


def installed_core(connection: sqlite3.Connection, root: Path, version: str | None) -> Pack | None:
    """Return ComfyUI's own classes in the shape of a pack, read only when its source changed; None without source."""
    files = core_files(root)
    if not files:
        return None
    place = os.fsencode(root)
    fingerprint = _keyed(fingerprint_of_files(files))
    before = _kept_packs(connection, place).get(place)
    if before is not None and before.fingerprint == fingerprint and before.pack.version == version:
        return before.pack
    core = read_core(read_core_specs(root), root=root, version=version)
    _store(connection, {place: _Kept(fingerprint, "", core)}, [])
    return core


def _present(listing: PackListing, before: _Kept | None) -> Pack:
    """Return a pack as it is now, the stored one itself when nothing changed."""
    if before is None or before.fingerprint != _keyed(listing.fingerprint):
        return read_pack(listing, git_facts(listing))
    if before.git_fingerprint != listing.git_fingerprint:
        return renewed(before.pack, listing, git_facts(listing))
    if before.pack.enabled != listing.enabled:
        return msgspec.structs.replace(before.pack, enabled=listing.enabled)
    return before.pack


def _keyed(fingerprint: str) -> str:
    return f"{READER_VERSION}:{fingerprint}"


def _kept_packs(connection: sqlite3.Connection, path: bytes | None = None) -> dict[bytes, _Kept]:
    query = "SELECT path, fingerprint, git_fingerprint, facts FROM pack"
    rows = connection.execute(query) if path is None else connection.execute(f"{query} WHERE path = ?", (path,))
    found: dict[bytes, _Kept] = {}
    for name, fingerprint, git_fingerprint, facts in rows:
        try:
            found[name] = _Kept(fingerprint, git_fingerprint, _DECODER.decode(facts))
        except (msgspec.ValidationError, msgspec.DecodeError):
            continue  # written by another version of this program: read the pack again
    return found


def _store(connection: sqlite3.Connection, changed: dict[bytes, _Kept], gone: list[bytes]) -> None:
    if not changed and not gone:
        return
    with transaction(connection):
        connection.executemany("DELETE FROM pack WHERE path = ?", [(path,) for path in gone])
        connection.executemany(
            "INSERT OR REPLACE INTO pack (path, fingerprint, git_fingerprint, facts) VALUES (?, ?, ?, ?)",
            [(path, row.fingerprint, row.git_fingerprint, _ENCODER.encode(row.pack)) for path, row in changed.items()],
        )
