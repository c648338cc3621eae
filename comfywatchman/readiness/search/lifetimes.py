"""How long a search result is reused, by its status and doubt, before the search is repeated."""

from __future__ import annotations

from typing import Final

from comfywatchman.readiness.search.results import SearchResult, SearchStatus
from comfywatchman.readiness.states import SearchDoubt

_HOUR_SECONDS: Final = 3600.0
_DAY_SECONDS: Final = 24 * _HOUR_SECONDS

RECHECK_SECONDS: Final = 7 * _DAY_SECONDS
"""Age at which a `FOUND` is verified with its hub again."""

ERROR_SECONDS: Final = _HOUR_SECONDS

_LIFETIMES: Final = {
    SearchStatus.NOT_FOUND: 7 * _DAY_SECONDS,
    SearchStatus.UNCERTAIN: _DAY_SECONDS,
    SearchStatus.INVALID_FILENAME: _DAY_SECONDS,
    SearchStatus.ERROR: ERROR_SECONDS,
}


_DOUBT_LIFETIMES: Final = {
    SearchDoubt.UNREADABLE_ANSWER: ERROR_SECONDS,
    # The site is not going to give another answer soon.
    SearchDoubt.ARCHIVED_BY_AUTHOR: 7 * _DAY_SECONDS,
    SearchDoubt.TAKEN_DOWN: 7 * _DAY_SECONDS,
    SearchDoubt.NO_MATCH: 7 * _DAY_SECONDS,
}
"""Lifetimes that differ from that of the status."""


def lifetime_seconds(result: SearchResult) -> float | None:
    """Return how long a result is reused; None for FOUND, which is reused until its hub disproves it."""
    if result.doubt in _DOUBT_LIFETIMES:
        return _DOUBT_LIFETIMES[result.doubt]
    return _LIFETIMES.get(result.status)
