"""Model facts of earlier cycles (headers and hashes) in the index database, so that no file is read twice."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, Literal

import msgspec

from comfywatchman.comfyui.models.file import CHECK_VERSION, HeaderFacts
from comfywatchman.readiness.database import Database, TableStore, to_signed, to_unsigned
from comfywatchman.readiness.models.inventory import FileKey, HeaderKey

_MAX_SQLITE_INTEGER: Final = (1 << 63) - 1
_HASH_REVISION_NOTE: Final = "hash-revision"
_CHECK_VERSION_NOTE: Final = "header-check"
_ALL_HEADERS: Final = (
    "SELECT device, inode, size, mtime_ns, suffix, format, problem, problem_code, detail, unseen_cycles FROM header"
)
_ALL_HASHES: Final = "SELECT device, inode, size, mtime_ns, sha256, autov3, blake3, unseen_cycles FROM content"
_SAVE_NOTE: Final = "INSERT OR REPLACE INTO note VALUES (?, ?)"

# Either a HeaderKey or a FileKey.
_Key = tuple[Any, ...]
_Statement = tuple[str, list[tuple[Any, ...]]]


class FileHashes(msgspec.Struct, frozen=True, gc=False):
    """The digests of one file, lower-case hex.

    Attributes:
        sha256: SHA-256 of the whole file; the first 10 digits are Civitai's AutoV2.
        autov3: First 12 digits of the SHA-256 of everything after a safetensors header; None for other files.
        blake3: BLAKE3 of the whole file, 256 bit.
    """

    sha256: str
    autov3: str | None
    blake3: str

    @property
    def autov2(self) -> str:
        """Civitai's AutoV2."""
        return self.sha256[:10]


class ModelIndex:
    """Header facts and hashes by file identity; everything in it can be recomputed.

    Database errors never stop a cycle: a damaged database is rebuilt, and facts that a full disk refuses are read
    again in the next cycle. `problems` lists both.
    """

    def __init__(self, database: Database) -> None:
        self._store = TableStore(database, name="model index")
        self._headers: dict[HeaderKey, HeaderFacts] | None = None
        self._hashes: dict[FileKey, FileHashes] | None = None
        # Keys whose `unseen_cycles` is not 0 in the database.
        self._unseen_headers: set[_Key] = set()
        self._unseen_hashes: set[_Key] = set()

    @property
    def problems(self) -> tuple[str, ...]:
        """Database problems since it was opened."""
        return tuple(self._store.problems)

    def headers(self) -> Mapping[HeaderKey, HeaderFacts]:
        """Return all stored header facts."""
        return self._load_headers()

    def hashes(self) -> Mapping[FileKey, FileHashes]:
        """Return all stored hashes."""
        return self._load_hashes()

    def remember_headers(self, facts: Mapping[HeaderKey, HeaderFacts]) -> None:
        """Store header facts in one transaction; facts of an older `CHECK_VERSION` are deleted with it."""
        self._load_headers().update(facts)
        rows = []
        for key, fact in facts.items():
            if _fits_in_sqlite(key):
                rows.append((*_to_row_key(key), fact.format, fact.problem, fact.problem_code, fact.detail))
        statements: list[_Statement] = []
        if not self._has_current_headers():
            statements.append(("DELETE FROM header", [()]))
        statements.append(("INSERT OR REPLACE INTO header VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0)", rows))
        statements.append((_SAVE_NOTE, [(_CHECK_VERSION_NOTE, str(CHECK_VERSION))]))
        self._store.write(statements)

    def remember_hashes(self, hashes: Mapping[FileKey, FileHashes]) -> None:
        """Store hashes in one transaction and raise `hash_revision` with it."""
        self._load_hashes().update(hashes)
        rows = []
        for key, digests in hashes.items():
            if _fits_in_sqlite(key):
                rows.append((*_to_row_key(key), digests.sha256, digests.autov3, digests.blake3))
        revision = int(self.hash_revision()) + 1
        self._store.write(
            [
                ("INSERT OR REPLACE INTO content VALUES (?, ?, ?, ?, ?, ?, ?, 0)", rows),
                (_SAVE_NOTE, [(_HASH_REVISION_NOTE, str(revision))]),
            ]
        )

    def hash_revision(self) -> str:
        """Return a number that grows whenever hashes are added; it starts again at 0 with a new database."""
        return self.note(_HASH_REVISION_NOTE) or "0"

    def note(self, name: str) -> str | None:
        """Return a text stored with `set_note`, or None."""
        rows = self._store.read("SELECT value FROM note WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else None

    def set_note(self, name: str, value: str) -> None:
        """Store a small text for later cycles."""
        self._store.write([(_SAVE_NOTE, [(name, value)])])

    def prune(self, seen: Collection[HeaderKey], *, keep_cycles: int) -> None:
        """Count one more cycle for each absent file; delete facts of files absent for more than `keep_cycles` cycles.

        Nothing is written when every known file was seen, as in most cycles.

        Args:
            seen: Header keys of all files that this cycle listed.
            keep_cycles: Number of cycles for which a file may be absent (an unplugged disk) without being read again.
        """
        seen_headers = frozenset(seen)
        seen_files = frozenset(key[:4] for key in seen)
        by_file = "device = ? AND inode = ? AND size = ? AND mtime_ns = ?"
        statements = [
            *_build_prune_statements(
                "header",
                f"{by_file} AND suffix = ?",
                absent=self.headers().keys() - seen_headers,
                returned=self._unseen_headers & seen_headers,
                keep_cycles=keep_cycles,
            ),
            *_build_prune_statements(
                "content",
                by_file,
                absent=self.hashes().keys() - seen_files,
                returned=self._unseen_hashes & seen_files,
                keep_cycles=keep_cycles,
            ),
        ]
        if statements:
            self._store.write(statements)
            self._headers = self._hashes = None
            self._unseen_headers = set()
            self._unseen_hashes = set()

    def _has_current_headers(self) -> bool:
        return self.note(_CHECK_VERSION_NOTE) == str(CHECK_VERSION)

    def _load_headers(self) -> dict[HeaderKey, HeaderFacts]:
        if self._headers is not None:
            return self._headers
        known = self._headers = {}
        if not self._has_current_headers():
            return known
        for row in self._store.read(_ALL_HEADERS):
            device, inode, size, mtime_ns, suffix, kind, problem, code, detail, unseen = row
            key = (to_unsigned(device), to_unsigned(inode), size, mtime_ns, suffix)
            known[key] = HeaderFacts(kind, problem, code, detail)
            if unseen:
                self._unseen_headers.add(key)
        return known

    def _load_hashes(self) -> dict[FileKey, FileHashes]:
        if self._hashes is not None:
            return self._hashes
        known = self._hashes = {}
        for device, inode, size, mtime_ns, sha256, autov3, blake3, unseen in self._store.read(_ALL_HASHES):
            key = (to_unsigned(device), to_unsigned(inode), size, mtime_ns)
            known[key] = FileHashes(sha256, autov3, blake3)
            if unseen:
                self._unseen_hashes.add(key)
        return known


def _build_prune_statements(
    table: Literal["header", "content"],
    match: str,
    *,
    absent: Iterable[_Key],
    returned: Iterable[_Key],
    keep_cycles: int,
) -> list[_Statement]:
    """Return the statements that update the `unseen_cycles` of one table; none when nothing changed.

    Args:
        table: The table.
        match: SQL condition with one `?` for each part of a key.
        absent: Keys that this cycle did not see.
        returned: Keys that were absent and are back.
        keep_cycles: See `ModelIndex.prune`.
    """
    absent_rows = [_to_row_key(key) for key in absent if _fits_in_sqlite(key)]
    returned_rows = [_to_row_key(key) for key in returned]
    statements: list[_Statement] = []
    if returned_rows:
        statements.append((f"UPDATE {table} SET unseen_cycles = 0 WHERE {match}", returned_rows))  # noqa: S608 - our own names
    if absent_rows:
        statements.append((f"UPDATE {table} SET unseen_cycles = unseen_cycles + 1 WHERE {match}", absent_rows))  # noqa: S608
        statements.append((f"DELETE FROM {table} WHERE unseen_cycles > ?", [(keep_cycles,)]))  # noqa: S608
    return statements


def _to_row_key(key: _Key) -> _Key:
    """Return a key as SQLite can hold it: device and inode are unsigned 64 bit, its integers are signed."""
    device, inode, *rest = key
    return (to_signed(device), to_signed(inode), *rest)


def _fits_in_sqlite(key: _Key) -> bool:
    """Return whether size and time fit; a file dated after the year 2262 is read again in each cycle."""
    _device, _inode, size, mtime_ns, *_suffix = key
    return bool(abs(mtime_ns) <= _MAX_SQLITE_INTEGER and size <= _MAX_SQLITE_INTEGER)
