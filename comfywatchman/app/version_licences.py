"""Licences that are known for the models of a version."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from comfywatchman.app.session import Session


def find_known_licences(session: Session) -> Mapping[str, str]:
    """Return the licences that model sites stated in earlier searches, by SHA-256."""
    from comfywatchman.readiness.database import open_database
    from comfywatchman.readiness.search.cache import SearchCache

    licences: dict[str, str] = {}
    with contextlib.closing(open_database(session.layout.database)) as database:
        # The latest come first.
        for result in SearchCache(database, now=session.clock.now()).read_results():
            for candidate in result.candidates:
                if candidate.sha256 is not None and candidate.details.licence is not None:
                    licences.setdefault(candidate.sha256, candidate.details.licence)
    return licences
