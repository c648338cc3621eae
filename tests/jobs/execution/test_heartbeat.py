"""The heartbeat goes on while the worker is busy, and its silence is noticed."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

from comfywatchman.base.errors import Failure
from comfywatchman.jobs.execution.heartbeat import WorkerHeartbeat

LIMIT_SECONDS = 60.0


class BootClock:
    """A clock whose boot clock a test moves."""

    seconds = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return 0.0

    def boottime(self) -> float:
        return self.seconds

    def boot_id(self) -> str:
        return ""


def test_lease_is_trusted_until_heartbeats_fail_for_too_long() -> None:
    clock = BootClock()
    failures = iter([False, True, False])

    def beat() -> None:
        if next(failures):
            raise Failure("jobs-database-unavailable", "away")

    heartbeat = WorkerHeartbeat(beat, every_seconds=15, busy_seconds=2, lease_seconds=60, clock=clock)
    clock.seconds = 30
    assert heartbeat.beat()
    clock.seconds = 65.9
    trusted = [heartbeat.is_trusted]
    assert not heartbeat.beat()
    clock.seconds = 66
    trusted.append(heartbeat.is_trusted)
    assert heartbeat.beat()
    trusted.append(heartbeat.is_trusted)
    # In between, 24 seconds are left for stopping the job.
    assert trusted == [True, False, True]


def test_time_of_a_late_answer_does_not_count() -> None:
    clock = BootClock()

    def beat() -> None:
        clock.seconds += 40

    heartbeat = WorkerHeartbeat(beat, every_seconds=15, busy_seconds=2, lease_seconds=60, clock=clock)
    heartbeat.beat()
    assert not heartbeat.is_trusted


def test_thread_beats_while_the_main_thread_is_blocked() -> None:
    beats = threading.Semaphore(0)
    with WorkerHeartbeat(
        beats.release, every_seconds=0.01, busy_seconds=0.01, lease_seconds=60, clock=BootClock()
    ) as heartbeat:
        # This thread only waits.
        for _ in range(3):
            assert beats.acquire(timeout=LIMIT_SECONDS)
        heartbeat.set_busy(is_busy=True)
        assert beats.acquire(timeout=LIMIT_SECONDS)


def test_change_of_work_is_told_at_once() -> None:
    beats = threading.Semaphore(0)
    with WorkerHeartbeat(
        beats.release, every_seconds=3600, busy_seconds=3600, lease_seconds=60, clock=BootClock()
    ) as heartbeat:
        assert not beats.acquire(blocking=False)
        heartbeat.set_busy(is_busy=True)
        assert beats.acquire(timeout=LIMIT_SECONDS)
        heartbeat._every_seconds = 0.0
