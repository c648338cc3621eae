"""The clock: the only module that reads the wall clock, the monotonic clock and the boot clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

_SECONDS_PER_MINUTE: Final = 60
_MINUTES_PER_HOUR: Final = 60
_HOURS_PER_DAY: Final = 24


class Clock(Protocol):
    """The clocks that the rest of the program receives as a parameter, so that tests can move them."""

    def now(self) -> datetime:
        """Return the wall clock as an aware UTC time."""

    def monotonic(self) -> float:
        """Return seconds from CLOCK_MONOTONIC, which stops while the machine is suspended."""

    def boottime(self) -> float:
        """Return seconds from CLOCK_BOOTTIME, which keeps counting while the machine is suspended."""

    def boot_id(self) -> str:
        """Return the kernel's id of this boot; empty where the system has none."""


class SystemClock:
    """The clocks of this machine."""

    def now(self) -> datetime:
        """Return the wall clock as an aware UTC time."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds from CLOCK_MONOTONIC, which stops while the machine is suspended."""
        return time.monotonic()

    def boottime(self) -> float:
        """Return seconds from CLOCK_BOOTTIME; from the monotonic clock where the system has no boot clock."""
        # macOS has no CLOCK_BOOTTIME: suspended time is then not counted, and no sleep is detected.
        clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
        return time.clock_gettime(clock)

    def boot_id(self) -> str:
        """Return the kernel's id of this boot; empty where the system has none."""
        try:
            return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        except OSError:
            return ""


def move_time(moment: datetime, seconds: float) -> datetime:
    """Return an aware time moved by some seconds; at the ends of the calendar (the years 1 and 9999) it stays there."""
    try:
        return moment + timedelta(seconds=seconds)
    except OverflowError:
        # A day off the end, so that the time can still be shown in another time zone.
        return datetime(9999, 12, 30, tzinfo=UTC) if seconds > 0 else datetime(1, 1, 2, tzinfo=UTC)


def format_utc(moment: datetime) -> str:
    """Format an aware time as state files hold it: UTC ISO 8601 with whole seconds (`2026-11-20T14:00:00Z`)."""
    whole_seconds = moment.astimezone(UTC).replace(microsecond=0)
    return whole_seconds.isoformat().replace("+00:00", "Z")


def parse_utc(text: str) -> datetime:
    """Parse a time from a state file.

    Raises:
        ValueError: The text is not an ISO 8601 time with an offset.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"time without an offset: {text!r}")
    return moment


def format_local(moment: datetime) -> str:
    """Format an aware time for people: local, with its zone (`30 Nov 2026, 03:20 CET`)."""
    local = moment.astimezone()
    return f"{local.day} {local:%b %Y, %H:%M %Z}"


def format_duration(seconds: float) -> str:
    """Format a duration for people, rounded to what matters: `40 s`, `12 min`, `1 h 48 min`, `3 days`."""
    minutes = round(seconds / _SECONDS_PER_MINUTE)
    if minutes < 1:
        return f"{max(seconds, 0):.0f} s"
    if minutes < _MINUTES_PER_HOUR:
        return f"{minutes} min"
    hours, rest = divmod(minutes, _MINUTES_PER_HOUR)
    if hours < 2 * _HOURS_PER_DAY:
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{round(hours / _HOURS_PER_DAY)} days"


def format_past(moment: datetime, now: datetime) -> str:
    """Format a past time for people: how long ago, and the local time (`12 min ago (03:20)`)."""
    seconds = (now - moment).total_seconds()
    local = moment.astimezone()
    at = f"{local:%H:%M}" if local.date() == now.astimezone().date() else f"{local.day} {local:%b, %H:%M}"
    age = "just now" if seconds < _SECONDS_PER_MINUTE else f"{format_duration(seconds)} ago"
    return f"{age} ({at})"


def format_future(moment: datetime, now: datetime) -> str:
    """Format a time to come as the local time, with the date unless it is today (`03:36`)."""
    local = moment.astimezone()
    return f"{local:%H:%M}" if local.date() == now.astimezone().date() else f"{local.day} {local:%b, %H:%M}"
