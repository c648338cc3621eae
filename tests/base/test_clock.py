"""The clocks of this machine, and times as text."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfywatchman.base.clock import (
    SystemClock,
    format_duration,
    format_future,
    format_local,
    format_past,
    format_utc,
    move_time,
    parse_utc,
)


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
@pytest.mark.slow
def test_time_survives_formatting_and_parsing(moment: datetime) -> None:
    assert parse_utc(format_utc(moment)) == moment.replace(microsecond=0)


@pytest.mark.parametrize("text", ["", "yesterday", "2026-11-20T14:00:00", "2026-11-20"])
def test_time_without_offset_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"offset|isoformat"):
        parse_utc(text)


@pytest.mark.parametrize(("seconds", "year"), [(60, 2026), (1e13, 9999), (-1e13, 1)])
def test_moved_time_stays_within_the_calendar(seconds: float, year: int) -> None:
    moved = move_time(datetime(2026, 11, 20, tzinfo=UTC), seconds)
    assert moved.year == year
    moved.astimezone(timezone(timedelta(hours=23)))
    moved.astimezone(timezone(timedelta(hours=-23)))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (20, "20 s"),
        (40, "1 min"),
        (12 * 60, "12 min"),
        (60 * 60, "1 h"),
        (108 * 60, "1 h 48 min"),
        (3 * 86400, "3 days"),
    ],
)
def test_duration_is_rounded_to_what_matters(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("berlin")
def test_times_for_people_are_local() -> None:
    moment = datetime(2026, 11, 30, 2, 20, tzinfo=UTC)
    assert format_local(moment) == "30 Nov 2026, 03:20 CET"
    assert format_past(moment, moment + timedelta(seconds=5)) == "just now (03:20)"
    assert format_past(moment, moment + timedelta(minutes=12)) == "12 min ago (03:20)"
    assert format_past(moment, moment + timedelta(days=3)) == "3 days ago (30 Nov, 03:20)"
    assert format_future(moment, moment - timedelta(hours=1)) == "03:20"
    assert format_future(moment, moment - timedelta(hours=5)) == "30 Nov, 03:20"
