"""Results of earlier searches in the state database, each reused for the lifetime of its status."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from comfywatchman.base.json_values import decode_json
from comfywatchman.base.settings import Settings
from comfywatchman.readiness.database import Database, TableStore
from comfywatchman.readiness.search.claims import ModelQuery, Proposal
from comfywatchman.readiness.search.lifetimes import RECHECK_SECONDS, lifetime_seconds
from comfywatchman.readiness.search.results import SearchResult, SearchStatus
from comfywatchman.readiness.states import NO_RESULT_DOUBTS

RESULT_SCHEMA_VERSION: Final = 3
"""Raised when a field of `SearchResult` changes its meaning, so that older rows are not misread."""

_FOUND_SCHEMA_VERSION: Final = 2
"""The version before `RESULT_SCHEMA_VERSION`, in which a FOUND has the same meaning."""

_RETENTION_SECONDS: Final = 400 * 24 * 3600.0


class _StoredResult(msgspec.Struct, frozen=True):
    schema_version: int
    result: SearchResult


@dataclass(frozen=True, slots=True)
class _CachedRow:
    context: str
    searched_at: float
    result: SearchResult


@dataclass(frozen=True, slots=True)
class CachedSearch:
    """The earlier results for one model.

    Attributes:
        result: A current result of the same backends, or a FOUND of any; None if the model must be searched again.
        needs_recheck: `result` is a FOUND old enough to be verified with its hub again.
        doubts: Current UNCERTAIN results of other backends that name a candidate or an obstacle; the present ones
            cannot override them.
        outdated: The last result of the same backends, past its lifetime; used if no request is allowed.
    """

    result: SearchResult | None = None
    needs_recheck: bool = False
    doubts: tuple[SearchResult, ...] = ()
    outdated: SearchResult | None = None


class SearchCache(TableStore):
    """Search results in the state database.

    Args:
        database: The open database.
        now: The time from which ages are counted.
    """

    def __init__(self, database: Database, *, now: datetime) -> None:
        super().__init__(database, name="memory of searches")
        self._now = now.timestamp()

    def look_up(self, key: str, context: str) -> CachedSearch:
        """Return the earlier results for a model.

        Args:
            key: From `cache_key`.
            context: Digest of the backends and their configuration.
        """
        rows = self._read_rows(key)
        found = [row for row in rows if row.result.status is SearchStatus.FOUND]
        if found:
            latest = max(found, key=lambda row: row.searched_at)
            is_recent = 0 <= self._now - latest.searched_at <= RECHECK_SECONDS
            return CachedSearch(latest.result, needs_recheck=not is_recent)
        doubts = []
        own_row = None
        for row in rows:
            if row.context == context:
                own_row = row
            elif row.result.status is SearchStatus.UNCERTAIN and self._is_lasting_doubt(row):
                doubts.append(row.result)
        if own_row is None:
            return CachedSearch(doubts=tuple(doubts))
        if self._is_current(own_row):
            return CachedSearch(own_row.result, doubts=tuple(doubts))
        return CachedSearch(doubts=tuple(doubts), outdated=own_row.result)

    def store(self, key: str, context: str, result: SearchResult) -> None:
        """Store a result in place of the earlier one of the same backends; drop rows older than 400 days."""
        encoded = msgspec.json.encode(_StoredResult(RESULT_SCHEMA_VERSION, result))
        self.write(
            [
                ("INSERT OR REPLACE INTO search_answer VALUES (?, ?, ?, ?)", [(key, context, self._now, encoded)]),
                ("DELETE FROM search_answer WHERE asked_at < ?", [(self._now - _RETENTION_SECONDS,)]),
            ]
        )

    def read_results(self) -> list[SearchResult]:
        """Return all stored results of any age, the latest first."""
        rows = self.read("SELECT answer FROM search_answer ORDER BY asked_at DESC")
        results = [_decode(encoded) for (encoded,) in rows]
        return [result for result in results if result is not None]

    def forget(self, key: str) -> None:
        """Delete all results for a model, because its file is gone or has changed on its hub."""
        self.write([("DELETE FROM search_answer WHERE model = ?", [(key,)])])

    def _read_rows(self, key: str) -> list[_CachedRow]:
        rows = []
        for context, asked_at, encoded in self.read(
            "SELECT context, asked_at, answer FROM search_answer WHERE model = ?", (key,)
        ):
            result = _decode(encoded)
            if result is not None:
                rows.append(_CachedRow(context, asked_at, result))
        return rows

    def _is_lasting_doubt(self, row: _CachedRow) -> bool:
        return row.result.doubt not in NO_RESULT_DOUBTS and self._is_current(row)

    def _is_current(self, row: _CachedRow) -> bool:
        lifetime = lifetime_seconds(row.result)
        # A negative age means that the clock was set back, so the real age is unknown.
        return lifetime is not None and 0 <= self._now - row.searched_at <= lifetime


def cache_key(query: ModelQuery, evidence: Iterable[Proposal] = ()) -> str:
    """Return the key of a model's results; it changes with the proposals for the model.

    Args:
        query: The model.
        evidence: Proposals of workflows and catalogues.
    """
    claims = {
        (proposal.by, repr(proposal.ids), proposal.name, proposal.sha256 or "", proposal.url or "")
        for proposal in evidence
    }
    return compute_digest((query.names, query.filename, query.folder, query.sha256, sorted(claims)))


def compute_digest(value: object) -> str:
    """Return a short digest of plain values."""
    return hashlib.blake2b(msgspec.json.encode(value), digest_size=16).hexdigest()


def digest_accounts(settings: Settings) -> str:
    """Return a digest of the keys with which sites are queried, which stands for the accounts that got an answer.

    A site shows an account what it hides from others, so a new key searches again. The keys cannot be read from it.
    """
    return compute_digest((settings.secrets.civitai_api_key, settings.secrets.hf_token))


def _decode(encoded: bytes) -> SearchResult | None:
    """Return a stored result; None for one that is damaged or of another schema version.

    A FOUND of version 2 is read: its fields mean the same. The others of that version have neither doubts nor proofs.
    """
    try:
        stored = decode_json(encoded, _StoredResult)
    except msgspec.MsgspecError:
        return _decode_old_form(encoded)
    is_old_found = stored.schema_version == _FOUND_SCHEMA_VERSION and stored.result.status is SearchStatus.FOUND
    return stored.result if is_old_found or stored.schema_version == RESULT_SCHEMA_VERSION else None


def _decode_old_form(encoded: bytes) -> SearchResult | None:
    """Return a result stored before there were schema versions, if it is a FOUND.

    The others kept facts in sentences (postponed, unreachable), so they are dropped; a FOUND is complete without them.
    """
    try:
        result = decode_json(encoded, SearchResult)
    except msgspec.MsgspecError:
        return None
    return result if result.status is SearchStatus.FOUND else None
