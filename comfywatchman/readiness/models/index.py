"""What earlier cycles learned of model files, so that nothing is read twice."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import msgspec

from comfywatchman.comfyui.models.file import CHECK_VERSION, HeaderFacts
from comfywatchman.readiness.database import Database, TableStore, to_signed, to_unsigned
from comfywatchman.readiness.models.inventory import FileKey, HeaderKey

_LARGEST: Final = (1 << 63) - 1
_REVISION: Final = "hash-revision"
_CHECK: Final = "header-check"
_ALL_HEADERS: Final = (
    "SELECT device, inode, size, mtime_ns, suffix, format, problem, problem_code, detail, unseen_cycles FROM header"
)
_ALL_HASHES: Final = "SELECT device, inode, size, mtime_ns, sha256, autov3, blake3, unseen_cycles FROM content"


class FileHashes(msgspec.Struct, frozen=True, gc=False):
    """The digests of one file, lower-case hex.

    Attributes:
        sha256: Of the whole file; its first 10 digits are Civitai's AutoV2.
        autov3: First 12 digits of the SHA-256 of everything behind a safetensors header; None for other files.
        blake3: Of the whole file, 256 bit.
    """

    sha256: str
    autov3: str | None
    blake3: str

    @property
    def autov2(self) -> str:
        """Civitai's AutoV2."""
        return self.sha256[:10]


class ModelIndex:
    """Header facts and hashes by the identity of a file; everything in it can be learned again.

    Trouble with the database never stops a cycle: a damaged one is begun anew, a full disk means that what was learned
    is learned again next time. `problems` tells of both.
    """

    def __init__(self, database: Database) -> None:
        self._store = TableStore(database, name="model index")
        self._headers: dict[HeaderKey, HeaderFacts] | None = None
        self._hashes: dict[FileKey, FileHashes] | None = None
        self._unseen: dict[str, set[tuple[Any, ...]]] = {"header": set(), "content": set()}

    @property
    def problems(self) -> tuple[str, ...]:
        """Tell what went wrong with the database since it was opened."""
        return tuple(self._store.problems)

    def headers(self) -> Mapping[HeaderKey, HeaderFacts]:
        """Return the facts of all headers ever read, but for those that were pruned."""
        return self._known_headers()

    def hashes(self) -> Mapping[FileKey, FileHashes]:
        """Return the hashes of all files ever hashed, but for those that were pruned."""
        return self._known_hashes()

    def remember_headers(self, facts: Mapping[HeaderKey, HeaderFacts]) -> None:
        """Keep what was read of headers, in one transaction; what an older check read goes with it."""
        self._known_headers().update(facts)
        outdated = [] if self._is_of_this_check() else [("DELETE FROM header", [()])]
        rows = [
            (*_to_row_key(key), fact.format, fact.problem, fact.problem_code, fact.detail)
            for key, fact in facts.items()
            if _fits_in_sqlite(key)
        ]
        self._store.write(
            [
                *outdated,
                ("INSERT OR REPLACE INTO header VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0)", rows),
                ("INSERT OR REPLACE INTO note VALUES (?, ?)", [(_CHECK, str(CHECK_VERSION))]),
            ]
        )

    def _is_of_this_check(self) -> bool:
        return self.note(_CHECK) == str(CHECK_VERSION)

    def remember_hashes(self, hashes: Mapping[FileKey, FileHashes]) -> None:
        """Keep hashes, in one transaction that also moves `hash_revision` on."""
        self._known_hashes().update(hashes)
        rows = [(*_to_row_key(key), h.sha256, h.autov3, h.blake3) for key, h in hashes.items() if _fits_in_sqlite(key)]
        revision = (_REVISION, str(int(self.hash_revision()) + 1))
        self._store.write(
            [
                ("INSERT OR REPLACE INTO content VALUES (?, ?, ?, ?, ?, ?, ?, 0)", rows),
                ("INSERT OR REPLACE INTO note VALUES (?, ?)", [revision]),
            ]
        )

    def hash_revision(self) -> str:
        """Return a number that grows whenever hashes are added; it lives as long as the database."""
        return self.note(_REVISION) or "0"

    def note(self, name: str) -> str | None:
        """Return a small text kept from cycle to cycle, or None."""
        rows = self._store.read("SELECT value FROM note WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else None

    def set_note(self, name: str, value: str) -> None:
        """Keep a small text from cycle to cycle."""
        self._store.write([("INSERT OR REPLACE INTO note VALUES (?, ?)", [(name, value)])])

    def prune(self, seen: Collection[HeaderKey], *, keep_cycles: int) -> None:
        """Count one more cycle for what was not seen, and forget what was not seen for more than `keep_cycles`.

        Nothing is written when everything known was seen, as in most cycles.

        Args:
            seen: The header keys of all files that this cycle listed.
            keep_cycles: How many cycles a file may be away (an unplugged disk) without being read again.
        """
        seen_headers = frozenset(seen)
        seen_files = frozenset(key[:4] for key in seen)
        work = [
            *self._prune_work("header", self.headers().keys(), seen_headers, keep_cycles),
            *self._prune_work("content", self.hashes().keys(), seen_files, keep_cycles),
        ]
        if work:
            self._store.write(work)
            self._headers = self._hashes = None
            self._unseen = {"header": set(), "content": set()}

    def _prune_work(
        self, table: str, known: Iterable[tuple[Any, ...]], seen: frozenset[tuple[Any, ...]], keep_cycles: int
    ) -> list[tuple[str, list[tuple[Any, ...]]]]:
        match = "device = ? AND inode = ? AND size = ? AND mtime_ns = ?" + (" AND suffix = ?" * (table == "header"))
        away = [_to_row_key(key) for key in known if key not in seen and _fits_in_sqlite(key)]
        back = [_to_row_key(key) for key in self._unseen[table] & seen]
        work: list[tuple[str, list[tuple[Any, ...]]]] = []
        if back:
            work.append((f"UPDATE {table} SET unseen_cycles = 0 WHERE {match}", back))  # noqa: S608 - our own names
        if away:
            work.append((f"UPDATE {table} SET unseen_cycles = unseen_cycles + 1 WHERE {match}", away))  # noqa: S608
            work.append((f"DELETE FROM {table} WHERE unseen_cycles > ?", [(keep_cycles,)]))  # noqa: S608
        return work

    def _known_headers(self) -> dict[HeaderKey, HeaderFacts]:
        if self._headers is not None:
            return self._headers
        known = self._headers = {}
        if not self._is_of_this_check():
            return known
        for device, inode, size, mtime_ns, suffix, kind, problem, code, detail, unseen in self._store.read(
            _ALL_HEADERS
        ):
            key = (to_unsigned(device), to_unsigned(inode), size, mtime_ns, suffix)
            known[key] = HeaderFacts(kind, problem, code, detail)
            if unseen:
                self._unseen["header"].add(key)
        return known

    def _known_hashes(self) -> dict[FileKey, FileHashes]:
        if self._hashes is not None:
            return self._hashes
        known = self._hashes = {}
        for device, inode, size, mtime_ns, sha256, autov3, blake3, unseen in self._store.read(_ALL_HASHES):
            key = (to_unsigned(device), to_unsigned(inode), size, mtime_ns)
            known[key] = FileHashes(sha256, autov3, blake3)
            if unseen:
                self._unseen["content"].add(key)
        return known


def _to_row_key(key: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a key as SQLite can hold it: device and inode are unsigned 64 bit, its integers are signed."""
    device, inode, *rest = key
    return (to_signed(device), to_signed(inode), *rest)


def _fits_in_sqlite(key: tuple[Any, ...]) -> bool:
    """Say whether size and time fit; a file dated beyond the year 2262 is simply read again each time."""
    _device, _inode, size, mtime_ns, *_suffix = key
    return bool(abs(mtime_ns) <= _LARGEST and size <= _LARGEST)
