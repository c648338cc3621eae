"""The clocks of this machine, and times as text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfywatchman.base.clock import SystemClock, format_utc, parse_utc


def test_clocks_advance() -> None:
    clock = SystemClock()
    first = (clock.monotonic(), clock.boottime())
    assert clock.now().utcoffset() == timedelta(0)
    assert clock.monotonic() >= first[0]
    assert clock.boottime() >= first[1] > 0


def test_boot_id_is_constant() -> None:
    assert SystemClock().boot_id() == SystemClock().boot_id() != ""


def test_time_is_formatted_in_utc_with_whole_seconds() -> None:
    moment = datetime(2026, 11, 20, 16, 0, 59, 999999, tzinfo=timezone(timedelta(hours=2)))
    assert format_utc(moment) == "2026-11-20T14:00:59Z"


@given(st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2999, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_time_survives_formatting_and_parsing(moment: datetime) -> None:
    assert parse_utc(format_utc(moment)) == moment.replace(microsecond=0)


@pytest.mark.parametrize("text", ["", "yesterday", "2026-11-20T14:00:00", "2026-11-20"])
def test_time_without_offset_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"offset|isoformat"):
        parse_utc(text)
