from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfywatchman.readiness.scheduler.due import (
    Moment,
    add_seconds,
    count_missed,
    is_wall_time_current,
    next_due,
    read_moment,
    seconds_between,
)
from tests.fakes import FakeClock

INTERVAL = 7200.0
HOUR = 3600.0
TICK = 60.0


def test_a_cycle_is_not_due_before_its_time() -> None:
    clock = FakeClock()
    due = add_seconds(read_moment(clock), INTERVAL)
    clock.advance(awake=INTERVAL - 1)
    judged = next_due(due, read_moment(clock), interval_seconds=INTERVAL)
    assert (judged.wait_seconds, judged.missed) == (1, 0)


def test_a_cycle_is_due_at_its_time_and_the_next_one_an_interval_later() -> None:
    clock = FakeClock()
    due = read_moment(clock)
    judged = next_due(due, read_moment(clock), interval_seconds=INTERVAL)
    assert (judged.wait_seconds, judged.missed, judged.at) == (0, 0, due)
    assert judged.following == add_seconds(due, INTERVAL)


def test_a_late_cycle_does_not_push_the_following_ones() -> None:
    clock = FakeClock()
    due = read_moment(clock)
    clock.advance(awake=100)
    assert next_due(due, read_moment(clock), interval_seconds=INTERVAL).following.boottime == due.boottime + INTERVAL


def test_due_times_missed_asleep_become_one_cycle() -> None:
    clock = FakeClock()
    due = read_moment(clock)
    clock.advance(asleep=3.5 * INTERVAL)
    judged = next_due(due, read_moment(clock), interval_seconds=INTERVAL)
    assert (judged.wait_seconds, judged.missed) == (0, 3)
    assert judged.following.boottime == due.boottime + 4 * INTERVAL


@pytest.mark.parametrize("shift", [-8 * HOUR, 8 * HOUR])
def test_setting_the_wall_clock_does_not_move_the_due_time(shift: float) -> None:
    clock = FakeClock()
    due = add_seconds(read_moment(clock), INTERVAL)
    clock.shift_wall(shift)
    judged = next_due(due, read_moment(clock), interval_seconds=INTERVAL)
    assert judged.wait_seconds == INTERVAL
    assert judged.at.wall == add_seconds(read_moment(clock), INTERVAL).wall, "what a person reads follows the new clock"
    assert not is_wall_time_current(due, judged)


def test_wall_clock_counts_after_a_reboot() -> None:
    clock = FakeClock()
    due = add_seconds(read_moment(clock), INTERVAL)
    clock.reboot(off_seconds=HOUR)
    judged = next_due(due, read_moment(clock), interval_seconds=INTERVAL)
    assert judged.wait_seconds == HOUR
    assert judged.at.boot_id == clock.boot
    assert not is_wall_time_current(due, judged)


def test_a_clock_set_back_over_a_reboot_delays_by_one_interval_at_most() -> None:
    clock = FakeClock()
    due = add_seconds(read_moment(clock), INTERVAL)
    clock.reboot()
    clock.shift_wall(-400 * 24 * HOUR)
    assert next_due(due, read_moment(clock), interval_seconds=INTERVAL).wait_seconds == INTERVAL


def test_wall_clock_counts_without_a_boot_id() -> None:
    clock = FakeClock(boot="")
    earlier = read_moment(clock)
    clock.shift_wall(HOUR)
    assert seconds_between(earlier, read_moment(clock)) == HOUR


def test_moment_has_whole_seconds_by_the_wall_clock() -> None:
    clock = FakeClock(wall=datetime(2026, 11, 20, 14, 0, 1, 999_999, tzinfo=UTC))
    assert read_moment(clock).wall == datetime(2026, 11, 20, 14, 0, 1, tzinfo=UTC)


def test_due_time_half_a_second_ahead_is_not_missed() -> None:
    now = read_moment(FakeClock())
    due = msgspec.structs.replace(now, boottime=now.boottime + 0.5)
    assert count_missed(due, now, interval_seconds=INTERVAL) == 0


@pytest.mark.parametrize(("away", "missed"), [(0.5, 0), (1.0, 1), (1.5, 1), (2.0, 2), (5.5, 5)])
def test_due_times_that_passed_without_a_scheduler_are_counted(away: float, missed: int) -> None:
    clock = FakeClock()
    due = add_seconds(read_moment(clock), INTERVAL)
    clock.advance(awake=away * INTERVAL)
    assert count_missed(due, read_moment(clock), interval_seconds=INTERVAL) == missed


@pytest.mark.parametrize(("shift", "is_current"), [(59, True), (-60, True), (60, True), (61, False), (-61, False)])
def test_wall_time_within_a_minute_is_current(*, shift: int, is_current: bool) -> None:
    clock = FakeClock()
    due = add_seconds(read_moment(clock), INTERVAL)
    clock.shift_wall(shift)
    state = next_due(due, read_moment(clock), interval_seconds=INTERVAL)
    assert is_wall_time_current(due, state) is is_current


@dataclass
class Machine:
    """A scheduler that ticks once per minute of waking time, on a machine that sleeps, reboots and sets its clock."""

    clock: FakeClock = field(default_factory=FakeClock)
    due: Moment = field(init=False)
    waited: float = 0.0
    waited_this_boot: float = 0.0
    served: list[Moment] = field(default_factory=list)
    started: list[tuple[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.due = add_seconds(read_moment(self.clock), INTERVAL)

    def live(self, awake: float) -> None:
        while awake > 0:
            step = min(TICK, awake)
            self.clock.advance(awake=step)
            awake -= step
            self.waited_this_boot += step
            self.tick()

    def tick(self) -> None:
        judged = next_due(self.due, read_moment(self.clock), interval_seconds=INTERVAL)
        if judged.wait_seconds > 0:
            self.due = judged.at if not is_wall_time_current(self.due, judged) else self.due
            return
        self.started.append((self.clock.boot, self.clock.boottime_seconds))
        self.served.append(judged.at)
        self.due = judged.following
        self.waited_this_boot = 0.0


def sleep(machine: Machine, seconds: float) -> None:
    machine.clock.advance(asleep=seconds)


def shift(machine: Machine, seconds: float) -> None:
    machine.clock.shift_wall(seconds)


def reboot(machine: Machine, seconds: float) -> None:
    machine.clock.reboot(off_seconds=seconds)
    machine.waited_this_boot = 0.0


def live(machine: Machine, seconds: float) -> None:
    machine.live(seconds)


events = st.one_of(
    st.tuples(st.just(live), st.floats(1, 4 * HOUR)),
    st.tuples(st.just(sleep), st.floats(1, 30 * HOUR)),
    st.tuples(st.just(shift), st.floats(-8 * HOUR, 8 * HOUR)),
    st.tuples(st.just(reboot), st.floats(1, 30 * HOUR)),
)


@given(st.lists(events, max_size=12))
@pytest.mark.slow
def test_no_due_time_runs_twice_and_none_is_late(happened: list[tuple[object, float]]) -> None:
    machine = Machine()
    for what, seconds in happened:
        what(machine, seconds)  # type: ignore[operator]
        machine.tick()
        assert machine.waited_this_boot <= INTERVAL + TICK, "an awake machine waits an interval at most"
    for before, after in zip(machine.served, machine.served[1:], strict=False):
        if before.boot_id == after.boot_id:
            gap = after.boottime - before.boottime
            assert gap > INTERVAL - 0.01, "two cycles for one due time"
            assert abs(gap / INTERVAL - round(gap / INTERVAL)) < 1e-6, "the rate stays fixed"
    assert len(set(machine.started)) == len(machine.started)


@given(st.lists(st.tuples(st.floats(1, 4 * HOUR), st.floats(1, 8 * HOUR)), min_size=1, max_size=10))
@pytest.mark.slow
def test_due_cycle_starts_within_one_tick_of_waking(
    days: list[tuple[float, float]],
) -> None:
    machine = Machine()
    for awake, asleep in days:
        machine.live(awake)
        sleep(machine, asleep)
        overdue = next_due(machine.due, read_moment(machine.clock), interval_seconds=INTERVAL).wait_seconds == 0
        cycles = len(machine.started)
        machine.live(TICK)
        assert len(machine.started) == cycles + 1 or not overdue
