from __future__ import annotations

import pytest

from comfywatchman.readiness.search.lifetimes import ERROR_SECONDS, lifetime_seconds
from comfywatchman.readiness.search.results import SearchStatus


def test_found_is_reused_until_its_hub_disproves_it() -> None:
    assert lifetime_seconds(SearchStatus.FOUND) is None


@pytest.mark.parametrize("status", [status for status in SearchStatus if status is not SearchStatus.FOUND])
def test_every_other_status_expires(status: SearchStatus) -> None:
    assert (lifetime_seconds(status) or 0) >= ERROR_SECONDS


def test_errors_expire_first_and_absence_last() -> None:
    lifetimes = {status: lifetime_seconds(status) or 0 for status in SearchStatus if status is not SearchStatus.FOUND}
    assert min(lifetimes, key=lambda status: lifetimes[status]) is SearchStatus.ERROR
    assert lifetimes[SearchStatus.NOT_FOUND] == max(lifetimes.values()) == 7 * 24 * 3600
