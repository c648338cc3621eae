from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.jobs.records import JobStatus
from comfywatchman.jobs.store.job_store import JobStore
from comfywatchman.jobs.store.transitions import MAX_INTERRUPTIONS
from tests.jobs.jobs import (
    ACTOR,
    DONE,
    SPEC,
    add_jobs,
    build_name,
    lease,
    move_clock,
    silence,
    start_worker,
    try_lease,
)


def test_only_jobs_of_silent_workers_are_recovered(store: JobStore) -> None:
    add_jobs(store, [1, 2, 3])
    silent, awake = start_worker(store), start_worker(store)
    lease(store, silent)
    lease(store, awake)
    silence(store, silent, 61)
    assert store.recover_orphans() == 1
    statuses = [store.get(build_name(number)).status for number in (1, 2, 3)]
    assert statuses == [JobStatus.PENDING, JobStatus.PROCESSING, JobStatus.PENDING]
    assert store.recover_orphans() == 0


def test_recovered_job_keeps_its_place_and_counters(store: JobStore) -> None:
    add_jobs(store, [1, 2])
    worker = start_worker(store)
    lease(store, worker)
    silence(store, worker, 61)
    store.recover_orphans()
    job = store.get(build_name(1))
    assert (job.run_count, job.retries_attempted, job.lease_expires_at, job.end_time) == (1, 0, None, None)
    again = lease(store, worker)
    assert (again.job.config_name, again.job.run_count, again.attempt) == (build_name(1), 2, 2)
    assert [run.outcome for run in store.attempts(build_name(1))] == ["lost", "running"]


def test_deleted_worker_does_not_hide_its_job(store: JobStore) -> None:
    store.upsert(SPEC)
    worker = start_worker(store)
    lease(store, worker)
    store.unregister_worker(worker)
    move_clock(store, 1)
    assert store.recover_orphans() == 1


def test_worker_does_not_recover_its_own_job_after_a_suspend(store: JobStore) -> None:
    store.upsert(SPEC)
    worker = start_worker(store)
    taken = lease(store, worker)
    move_clock(store, 8 * 3600)
    assert store.recover_orphans(worker_id=worker) == 0
    assert store.is_lease_held(taken)
    assert store.complete(taken, DONE).accepted


def test_unknown_worker_recovers_nothing(store: JobStore) -> None:
    with pytest.raises(Failure) as caught:
        store.recover_orphans(worker_id="gone")
    assert caught.value.code == "jobs-worker-unknown"


def test_time_of_the_caller_can_be_given(store: JobStore) -> None:
    store.upsert(SPEC)
    lease(store, start_worker(store))
    now = datetime.now(UTC)
    assert store.recover_orphans(now=now) == 0
    assert store.recover_orphans(now=now + timedelta(seconds=70)) == 1


def test_clock_set_back_does_not_keep_a_dead_worker_alive(store: JobStore) -> None:
    store.upsert(SPEC)
    lease(store, start_worker(store))
    move_clock(store, -3600)
    assert store.recover_orphans() == 0
    move_clock(store, 61)
    assert store.recover_orphans() == 1


def test_running_job_that_a_person_cancelled_ends_with_its_worker(store: JobStore) -> None:
    store.upsert(SPEC)
    worker = start_worker(store)
    lease(store, worker)
    store.cancel(SPEC.config_name, actor=ACTOR)
    silence(store, worker, 61)
    assert store.recover_orphans() == 1
    job = store.get(SPEC.config_name)
    assert (job.status, job.is_cancel_requested) == (JobStatus.CANCELLED, False)
    assert job.end_time is not None


@pytest.mark.slow
def test_job_that_loses_every_worker_is_quarantined(store: JobStore) -> None:
    add_jobs(store, [1, 2])
    for _ in range(MAX_INTERRUPTIONS):
        worker = start_worker(store)
        assert lease(store, worker).job.config_name == build_name(1)
        silence(store, worker, 61)
        assert store.recover_orphans() == 1
    job = store.get(build_name(1))
    assert (job.status, job.error_code) == (JobStatus.QUARANTINED, "jobs-interrupted")
    assert job.error_trace == "The worker sent no heartbeat in time."
    following = try_lease(store, start_worker(store))
    assert following is not None
    assert following.job.config_name == build_name(2)
