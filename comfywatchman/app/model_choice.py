"""The choice of a candidate for a missing model, for the command and for the page."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from comfywatchman.app.session import Session

if TYPE_CHECKING:
    from comfywatchman.readiness.search.decisions import Decision
    from comfywatchman.readiness.search.results import SearchResult


def choose_candidate(session: Session, result: SearchResult, choice: str) -> Decision:
    """Store which candidate of a result is the model.

    Args:
        session: The session.
        result: The result that lists the candidates.
        choice: Id of a candidate, or its number in the list, from 1.

    Raises:
        Failure: As `store_choice`.
    """
    from comfywatchman.readiness.search.decisions import store_choice
    from comfywatchman.readiness.search.factory import build_policy

    policy = build_policy(session.settings)
    return store_choice(session.layout.decisions, result, choice, policy=policy, clock=session.clock)


def read_search_results(session: Session) -> tuple[SearchResult, ...]:
    """Return the results of all searches so far, the latest first.

    Raises:
        Failure: The database cannot be opened.
    """
    from comfywatchman.readiness.database import open_database
    from comfywatchman.readiness.search.cache import SearchCache

    with closing(open_database(session.layout.database)) as database:
        return tuple(SearchCache(database, now=session.clock.now()).read_results())
