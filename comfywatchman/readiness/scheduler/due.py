"""Compute when the next cycle is due: at a fixed rate that sleep, reboots and clock changes neither skip nor double."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from comfywatchman.base.clock import Clock, move_time
from comfywatchman.base.state.ranges import Seconds, UtcTime

_MAX_WALL_DRIFT_SECONDS: Final = 60.0


class Moment(msgspec.Struct, frozen=True):
    """A point in time by two clocks.

    Attributes:
        wall: UTC; shown to people, and compared across a reboot.
        boottime: CLOCK_BOOTTIME in seconds; compared within one boot, because it cannot be set.
        boot_id: The boot that `boottime` belongs to; empty when the system has no boot id.
    """

    wall: UtcTime
    boottime: Seconds
    boot_id: str


@dataclass(frozen=True, slots=True)
class NextDue:
    """State of the next due cycle.

    Attributes:
        at: When it is or was due, by the clocks of the present boot.
        wait_seconds: Seconds until then; 0 when it is due now.
        missed: Number of further due times that have passed since; one cycle makes up for all of them.
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
    """Return the moment that many seconds later; earlier for a negative number."""
    wall = move_time(moment.wall, round(seconds))
    return Moment(wall=wall, boottime=moment.boottime + seconds, boot_id=moment.boot_id)


def seconds_between(earlier: Moment, now: Moment) -> float:
    """Return the seconds from one moment to another: by the boot clock within one boot, else by the wall clock."""
    if earlier.boot_id and earlier.boot_id == now.boot_id:
        return now.boottime - earlier.boottime
    return (now.wall - earlier.wall).total_seconds()


def next_due(due: Moment, now: Moment, *, interval_seconds: float) -> NextDue:
    """Return how long to wait for the due cycle, and the number of due times missed.

    Across a reboot only the wall clock can be compared. If it was set back meanwhile, the cycle is due at most one
    interval from now.
    """
    # Without the limit, a wall clock set back by a year would delay the next cycle by a year.
    wait = min(-seconds_between(due, now), interval_seconds)
    at = add_seconds(now, wait)
    if wait > 0:
        return NextDue(at=at, wait_seconds=wait, missed=0, following=add_seconds(at, interval_seconds))
    # Several missed due times become one cycle: two in a row would read the same files.
    missed = int(-wait // interval_seconds)
    following = add_seconds(at, (missed + 1) * interval_seconds)
    return NextDue(at=at, wait_seconds=0.0, missed=missed, following=following)


def count_missed(due: Moment, now: Moment, *, interval_seconds: float) -> int:
    """Return the number of due times that passed while no scheduler ran."""
    state = next_due(due, now, interval_seconds=interval_seconds)
    if state.wait_seconds > 0:
        return 0
    return state.missed + 1


def is_wall_time_current(stored: Moment, state: NextDue) -> bool:
    """Return whether the wall time of a stored due time is still right; setting the clock makes it wrong."""
    drift = abs((stored.wall - state.at.wall).total_seconds())
    return stored.boot_id == state.at.boot_id and drift <= _MAX_WALL_DRIFT_SECONDS
