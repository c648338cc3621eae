from __future__ import annotations

import pytest

from comfywatchman.readiness.search.lifetimes import ERROR_SECONDS, lifetime_seconds
from comfywatchman.readiness.search.results import SearchResult, SearchStatus
from comfywatchman.readiness.states import SearchDoubt
from tests.search_results import reasons

WEEK = 7 * 24 * 3600


def lifetime(status: SearchStatus, doubt: SearchDoubt = SearchDoubt.CANDIDATES_TO_CHOOSE) -> float | None:
    return lifetime_seconds(SearchResult(status, "a.safetensors", None, "", **reasons(status, doubt)))


def test_found_is_reused_until_its_hub_disproves_it() -> None:
    assert lifetime(SearchStatus.FOUND) is None


@pytest.mark.parametrize("status", [status for status in SearchStatus if status is not SearchStatus.FOUND])
def test_every_other_status_expires(status: SearchStatus) -> None:
    assert (lifetime(status) or 0) >= ERROR_SECONDS


def test_errors_expire_first_and_absence_last() -> None:
    lifetimes = {status: lifetime(status) or 0 for status in SearchStatus if status is not SearchStatus.FOUND}
    assert min(lifetimes, key=lambda status: lifetimes[status]) is SearchStatus.ERROR
    assert lifetimes[SearchStatus.NOT_FOUND] == max(lifetimes.values()) == WEEK


def test_search_by_words_without_a_match_is_reused_as_long_as_not_found() -> None:
    assert lifetime(SearchStatus.UNCERTAIN, SearchDoubt.NO_MATCH) == lifetime(SearchStatus.NOT_FOUND)


def test_unreadable_answer_is_reused_no_longer_than_an_error() -> None:
    assert lifetime(SearchStatus.UNCERTAIN, SearchDoubt.UNREADABLE_ANSWER) == ERROR_SECONDS


def test_name_that_nobody_was_asked_about_is_not_kept_for_a_week() -> None:
    assert lifetime(SearchStatus.UNCERTAIN, SearchDoubt.NOT_ASKED) == WEEK / 7
