"""The clock: the only module that reads the wall clock, the monotonic clock and the boot clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol


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
