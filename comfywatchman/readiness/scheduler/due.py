"""When the next cycle is due: a fixed rate that sleep, reboots and a changed wall clock neither skip nor double."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from comfywatchman.base.clock import Clock

_WALL_DRIFT_SECONDS = 60.0


class Moment(msgspec.Struct, frozen=True):
    """A point in time by two clocks.

    Attributes:
        wall: UTC; what a person reads, and what counts after a reboot.
        boottime: CLOCK_BOOTTIME in seconds; what counts within the boot, because nobody can set it.
        boot_id: The boot that `boottime` belongs to; empty where the system names none.
    """

    wall: datetime
    boottime: float
    boot_id: str


@dataclass(frozen=True, slots=True)
class NextDue:
    """How things stand with the next cycle.

    Attributes:
        at: When it is or was due, by the clocks of the present boot.
        wait_seconds: How long until then; 0 when it is due now.
        missed: How many further due times have passed since; all of them together are one cycle.
        following: When the cycle after it is due, if this one starts now.
    """

    at: Moment
    wait_seconds: float
    missed: int
    following: Moment


def read_moment(clock: Clock) -> Moment:
    """Read both clocks."""
    return Moment(wall=clock.now().replace(microsecond=0), boottime=clock.boottime(), boot_id=clock.boot_id())


def add_seconds(moment: Moment, seconds: float) -> Moment:
    """Return the moment that many seconds later (negative: earlier)."""
    wall = moment.wall + timedelta(seconds=round(seconds))
    return Moment(wall=wall, boottime=moment.boottime + seconds, boot_id=moment.boot_id)


def seconds_between(earlier: Moment, now: Moment) -> float:
    """Return the seconds from one moment to another: by the boot clock within one boot, else by the wall clock."""
    if earlier.boot_id and earlier.boot_id == now.boot_id:
        return now.boottime - earlier.boottime
    return (now.wall - earlier.wall).total_seconds()


def next_due(due: Moment, now: Moment, *, interval_seconds: float) -> NextDue:
    """Say whether a cycle is due.

    Across a reboot only the wall clock is left to compare. Where it was set back meanwhile, the cycle is due one
    interval from now at the latest.
    """
    wait = min(-seconds_between(due, now), interval_seconds)
    at = add_seconds(now, wait)
    if wait > 0:
        return NextDue(at=at, wait_seconds=wait, missed=0, following=add_seconds(at, interval_seconds))
    missed = int(-wait // interval_seconds)
    following = add_seconds(at, (missed + 1) * interval_seconds)
    return NextDue(at=at, wait_seconds=0.0, missed=missed, following=following)


def count_missed(due: Moment, now: Moment, *, interval_seconds: float) -> int:
    """Count the due times that passed while no scheduler ran."""
    judged = next_due(due, now, interval_seconds=interval_seconds)
    return 0 if judged.wait_seconds > 0 else judged.missed + 1


def is_wall_time_current(stored: Moment, judged: NextDue) -> bool:
    """Say whether a stored due time still means what its wall time tells a reader, whoever set the clock since."""
    drift = abs((stored.wall - judged.at.wall).total_seconds())
    return stored.boot_id == judged.at.boot_id and drift <= _WALL_DRIFT_SECONDS
