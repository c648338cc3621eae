"""How long a search result is reused, by its status."""

from __future__ import annotations

from typing import Final

from comfywatchman.readiness.search.results import SearchStatus

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


def lifetime_seconds(status: SearchStatus) -> float | None:
    """Return how long a result is reused; None for FOUND, which is reused until its hub disproves it."""
    return _LIFETIMES.get(status)
