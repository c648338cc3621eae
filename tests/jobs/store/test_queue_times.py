from __future__ import annotations

from datetime import UTC, datetime

import pytest

from comfywatchman.jobs.records import AttemptOutcome
from comfywatchman.jobs.store import queue_times
from comfywatchman.jobs.store.job_store import JobStore
from comfywatchman.jobs.store.queue_times import QueueTimes, count_open_jobs
from tests.jobs.jobs import add_jobs, lease, start_worker

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def test_length_follows_from_when_jobs_came_and_ended() -> None:
    times = QueueTimes(0.0, created=(50.0, 10.0), ended=(90.0,))
    lengths = count_open_jobs(times, open_now=4, now=100.0, points=5)
    assert lengths == ((0.0, 3), (25.0, 4), (50.0, 5), (75.0, 5), (100.0, 4))


def test_length_is_never_negative() -> None:
    # A job that was deleted is in no record.
    times = QueueTimes(0.0, created=(50.0, 60.0), ended=())
    assert count_open_jobs(times, open_now=0, now=100.0, points=2) == ((0.0, 0), (100.0, 0))


def test_times_are_those_of_the_jobs(store: JobStore) -> None:
    worker = start_worker(store)
    add_jobs(store, [1, 2, 3], retry_limit=0)
    store.complete(lease(store, worker), AttemptOutcome(True))
    store.complete(lease(store, worker), AttemptOutcome(False, "node-error", "text", retryable=False))
    times = store.read_queue_times(LONG_AGO)
    assert (times.since, len(times.created), len(times.ended)) == (LONG_AGO.timestamp(), 3, 2)
    later = store.read_queue_times(datetime(2100, 1, 1, tzinfo=UTC))
    assert (later.created, later.ended) == ((), ())


def test_many_jobs_shorten_the_time(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_times, "MAX_TIMES", 2)
    add_jobs(store, [1, 2, 3])
    times = store.read_queue_times(LONG_AGO)
    assert times.since > LONG_AGO.timestamp()
    assert len(times.created) < 2
