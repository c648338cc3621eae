from __future__ import annotations

import pytest

from comfywatchman.jobs.records import AttemptOutcome
from comfywatchman.jobs.store import pruning
from comfywatchman.jobs.store.job_store import JobStore
from tests.jobs.jobs import ACTOR, DONE, add_jobs, build_name, lease, move_clock, start_worker

DAY = 86400


def test_old_done_jobs_are_deleted_with_their_history(store: JobStore) -> None:
    add_jobs(store, range(3))
    worker = start_worker(store)
    store.complete(lease(store, worker), DONE)
    move_clock(store, 91 * DAY)
    store.complete(lease(store, worker), DONE)
    assert store.prune(90) == 1
    assert [job.config_name for job in store.list_jobs()] == [build_name(2), build_name(1)]
    assert store.attempts(build_name(0)) == ()


def test_jobs_whose_files_still_wait_are_kept(store: JobStore) -> None:
    add_jobs(store, range(3))
    worker = start_worker(store)
    store.complete(lease(store, worker), AttemptOutcome(success=False, retryable=False))
    lease(store, worker)
    store.cancel(build_name(2), actor=ACTOR)
    move_clock(store, 1000 * DAY)
    assert store.prune(90) == 0
    assert store.stats().total_jobs == 3


def test_deleting_goes_on_until_nothing_old_is_left(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "_BATCH", 2)
    add_jobs(store, range(5))
    worker = start_worker(store)
    for _ in range(5):
        store.complete(lease(store, worker), DONE)
    move_clock(store, 2 * DAY)
    assert store.prune(1) == 5


def test_old_audit_entries_are_deleted(store: JobStore) -> None:
    store.pause(actor=ACTOR)
    move_clock(store, 91 * DAY)
    store.resume(actor=ACTOR)
    store.prune(90)
    assert [entry.action for entry in store.audit()] == ["resume"]


def test_workers_silent_for_a_day_are_deleted_unless_they_hold_a_job(store: JobStore) -> None:
    add_jobs(store, [1])
    holder = start_worker(store, "holder")
    lease(store, holder, host="holder")
    start_worker(store, "gone")
    move_clock(store, 2 * DAY)
    start_worker(store, "new")
    store.prune(90)
    assert [host.host for host in store.list_hosts()] == ["holder", "new"]
    store.recover_orphans()
    store.prune(90)
    assert [host.host for host in store.list_hosts()] == ["new"]
