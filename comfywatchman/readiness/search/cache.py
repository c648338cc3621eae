"""Answers of earlier searches, each for as long as its kind stays true."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from comfywatchman.readiness.database import Database, TableStore
from comfywatchman.readiness.search.claims import ModelQuery, Proposal
from comfywatchman.readiness.search.results import SearchResult, SearchStatus

_HOUR_SECONDS: Final = 3600.0
_DAY_SECONDS: Final = 24 * _HOUR_SECONDS

RECHECK_SECONDS: Final = 7 * _DAY_SECONDS
"""Age from which a `FOUND` is held against its hub again."""

_LIFETIMES: Final = {
    SearchStatus.NOT_FOUND: 7 * _DAY_SECONDS,
    SearchStatus.UNCERTAIN: _DAY_SECONDS,
    SearchStatus.ERROR: _HOUR_SECONDS,
    SearchStatus.INVALID_FILENAME: _HOUR_SECONDS,
}
_RETENTION_SECONDS: Final = 400 * _DAY_SECONDS


def lifetime_seconds(status: SearchStatus) -> float | None:
    """Return how long an answer counts: NOT_FOUND 7 days, UNCERTAIN one, an error one hour, FOUND until disproved."""
    return _LIFETIMES.get(status)


@dataclass(frozen=True, slots=True)
class CachedSearch:
    """What is remembered of one model.

    Attributes:
        answer: An answer that still counts, found by asking the same backends, or FOUND by any; None to ask again.
        aged: `answer` is a FOUND old enough to be held against its hub again.
        doubts: UNCERTAIN answers that still count, of other backends: asking these does not take them back.
        outdated: The last answer of the same backends that counts no longer; better than none when nobody is asked.
    """

    answer: SearchResult | None = None
    aged: bool = False
    doubts: tuple[SearchResult, ...] = ()
    outdated: SearchResult | None = None


class SearchCache(TableStore):
    """Search answers in the state database.

    Args:
        database: The open database.
        now: The moment that ages are counted from.
    """

    def __init__(self, database: Database, *, now: datetime) -> None:
        super().__init__(database, name="memory of searches")
        self._now = now.timestamp()

    def look_up(self, key: str, context: str) -> CachedSearch:
        """Return what is remembered of a model.

        Args:
            key: From `model_key`.
            context: Who is asked, in what configuration.
        """
        rows = self.read("SELECT context, asked_at, answer FROM search_answer WHERE model = ?", (key,))
        known = [(its, asked_at, answer) for its, asked_at, text in rows if (answer := _decode(text)) is not None]
        found = [(asked_at, answer) for _, asked_at, answer in known if answer.status is SearchStatus.FOUND]
        if found:
            asked_at, answer = max(found, key=lambda one: one[0])
            return CachedSearch(answer, aged=not 0 <= self._now - asked_at <= RECHECK_SECONDS)
        fresh = [(its, answer) for its, asked_at, answer in known if self._is_current(asked_at, answer)]
        own = next((answer for its, answer in fresh if its == context), None)
        last = next((answer for its, _, answer in known if its == context), None)
        doubts = tuple(one for its, one in fresh if its != context and one.status is SearchStatus.UNCERTAIN)
        return CachedSearch(own, doubts=doubts, outdated=last if own is None else None)

    def store(self, key: str, context: str, answer: SearchResult) -> None:
        """Keep an answer in place of the earlier one of the same backends; drop what is older than 400 days."""
        row = (key, context, self._now, msgspec.json.encode(answer))
        self.write(
            [
                ("INSERT OR REPLACE INTO search_answer VALUES (?, ?, ?, ?)", [row]),
                ("DELETE FROM search_answer WHERE asked_at < ?", [(self._now - _RETENTION_SECONDS,)]),
            ]
        )

    def read_answers(self) -> list[SearchResult]:
        """Return all that is kept, of whatever age, the latest first."""
        rows = self.read("SELECT answer FROM search_answer ORDER BY asked_at DESC")
        return [answer for (text,) in rows if (answer := _decode(text)) is not None]

    def forget(self, key: str) -> None:
        """Drop all that is remembered of a model: its file is gone or has changed where it was found."""
        self.write([("DELETE FROM search_answer WHERE model = ?", [(key,)])])

    def _is_current(self, asked_at: float, answer: SearchResult) -> bool:
        lifetime = lifetime_seconds(answer.status)
        # An age below zero means that the clock was set back; nothing is known of such an answer's age.
        return lifetime is not None and 0 <= self._now - asked_at <= lifetime


def cache_key(wanted: ModelQuery, evidence: Iterable[Proposal] = ()) -> str:
    """Return under what a model's answers are kept; it changes with what the workflows say of the model.

    Args:
        wanted: The model.
        evidence: What workflows and catalogues propose for it.
    """
    claims = sorted({(one.by, repr(one.ids), one.name, one.sha256 or "", one.url or "") for one in evidence})
    return compute_digest((wanted.names, wanted.filename, wanted.folder, wanted.sha256, claims))


def compute_digest(value: object) -> str:
    """Return a short digest of plain values."""
    return hashlib.blake2b(msgspec.json.encode(value), digest_size=16).hexdigest()


def _decode(text: bytes) -> SearchResult | None:
    try:
        return msgspec.json.decode(text, type=SearchResult)
    except msgspec.MsgspecError:
        return None
