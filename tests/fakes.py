"""Stand-ins for the few things that are ours and cannot be moved by a test: the clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta


@dataclass
class FakeClock:
    """A clock that moves only when told to, through waking hours, sleep, reboots and people who set the wall clock."""

    wall: datetime = field(default_factory=lambda: datetime(2026, 11, 20, 14, 0, tzinfo=UTC))
    monotonic_seconds: float = 1000.0
    boottime_seconds: float = 1000.0
    boot: str = "boot-1"

    def now(self) -> datetime:
        """Return the wall clock."""
        return self.wall

    def monotonic(self) -> float:
        """Return the seconds that count waking time only."""
        return self.monotonic_seconds

    def boottime(self) -> float:
        """Return the seconds since boot."""
        return self.boottime_seconds

    def boot_id(self) -> str:
        """Return the name of this boot."""
        return self.boot

    def advance(self, *, awake: float = 0.0, asleep: float = 0.0) -> None:
        """Let time pass: first asleep, then awake."""
        self.wall += timedelta(seconds=awake + asleep)
        self.boottime_seconds += awake + asleep
        self.monotonic_seconds += awake

    def shift_wall(self, seconds: float) -> None:
        """Set the wall clock forward or back; no time passes."""
        self.wall += timedelta(seconds=seconds)

    def set_wall(self, moment: datetime) -> None:
        """Set the wall clock; no time passes."""
        self.wall = moment

    def reboot(self, *, off_seconds: float = 60.0) -> None:
        """Switch the machine off for a while and start it again."""
        self.wall += timedelta(seconds=off_seconds)
        self.monotonic_seconds = self.boottime_seconds = 10.0
        self.boot = f"boot-{int(self.boot.rpartition('-')[2]) + 1}"
