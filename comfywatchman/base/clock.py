"""The one door to the wall clock and its two steady companions."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    """What the rest of the program may ask about time."""

    def now(self) -> datetime:
        """Return the wall clock as an aware UTC time."""

    def monotonic(self) -> float:
        """Return seconds that stand still while the machine sleeps (CLOCK_MONOTONIC)."""

    def boottime(self) -> float:
        """Return seconds since boot, sleep included (CLOCK_BOOTTIME)."""

    def boot_id(self) -> str:
        """Return the kernel's identity of this boot; empty where the system has none."""


class SystemClock:
    """The clocks of this machine."""

    def now(self) -> datetime:
        """Return the wall clock as an aware UTC time."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that stand still while the machine sleeps (CLOCK_MONOTONIC)."""
        return time.monotonic()

    def boottime(self) -> float:
        """Return seconds since boot, sleep included; the monotonic clock where the system has no boot clock."""
        clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
        return time.clock_gettime(clock)

    def boot_id(self) -> str:
        """Return the kernel's identity of this boot; empty where the system has none."""
        try:
            return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        except OSError:
            return ""


def format_utc(moment: datetime) -> str:
    """Write an aware time as UTC ISO 8601 with whole seconds, as state files hold it (`2026-11-20T14:00:00Z`)."""
    return moment.astimezone(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")


def parse_utc(text: str) -> datetime:
    """Read a time of a state file.

    Raises:
        ValueError: The text is no ISO 8601 time with an offset.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"time without an offset: {text!r}")
    return moment
