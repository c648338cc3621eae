from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from comfywatchman.base.errors import Failure
from comfywatchman.jobs.records import AttemptOutcome, JobStatus
from comfywatchman.jobs.store import bulk
from comfywatchman.jobs.store.bulk import HEAD_CHARS, BulkChange, JobFilter
from comfywatchman.jobs.store.changes import FAILED_STATUSES, build_retry
from comfywatchman.jobs.store.job_store import JobStore
from tests.jobs.conftest import delete_rows
from tests.jobs.jobs import ACTOR, add_jobs, build_name, lease, start_worker

WAITING = JobFilter((JobStatus.PENDING,))
FAILED = JobFilter(FAILED_STATUSES)


def fail_jobs(store: JobStore, numbers: range, text: str, code: str = "node-error") -> None:
    worker = start_worker(store)
    add_jobs(store, numbers, retry_limit=0)
    for _ in numbers:
        store.complete(lease(store, worker), AttemptOutcome(False, code, text, retryable=False))


def test_failures_are_grouped_by_code_and_begin_of_their_text(store: JobStore) -> None:
    same = "x" * HEAD_CHARS
    fail_jobs(store, range(1, 4), f"{same}1")
    fail_jobs(store, range(4, 6), f"{same}2", code="other")
    fail_jobs(store, range(6, 7), "rare")
    groups = store.group_failures()
    assert [(group.error_code, group.count) for group in groups] == [("node-error", 3), ("other", 2), ("node-error", 1)]
    assert groups[0].newest.config_name == build_name(3)
    assert groups[0].first_at is not None
    assert groups[0].first_at <= (groups[0].last_at or groups[0].first_at)
    assert [group.count for group in store.group_failures(limit=1)] == [3]
    assert store.group_failures(text="nothing") == ()


def test_group_is_a_filter_of_its_jobs(store: JobStore) -> None:
    fail_jobs(store, range(1, 4), "out of memory")
    fail_jobs(store, range(4, 6), "")
    group = store.group_failures()[0]
    chosen = JobFilter(FAILED_STATUSES, "", group.error_code, group.head)
    assert store.count_jobs(chosen) == 3
    assert [job.config_name for job in store.list_matching(chosen, limit=2)] == [build_name(3), build_name(2)]
    assert store.count_jobs(FAILED) == 5


def test_all_of_a_cause_are_retried_and_recorded(store: JobStore) -> None:
    fail_jobs(store, range(1, 4), "out of memory")
    fail_jobs(store, range(4, 5), "other")
    chosen = JobFilter(FAILED_STATUSES, "", "node-error", "out of memory")
    assert store.change_many(chosen, BulkChange.RETRY, expected=3, actor=ACTOR) == 3
    assert store.stats().by_status["pending"] == 3
    (entry,) = store.audit(build_name(2))
    assert (entry.action, entry.old, entry.new, entry.actor) == ("retry", "failed", "pending", "ann")
    assert store.get(build_name(2)).error_code is None


def test_another_number_than_confirmed_changes_nothing(store: JobStore) -> None:
    add_jobs(store, range(1, 4))
    with pytest.raises(Failure) as raised:
        store.change_many(WAITING, BulkChange.CANCEL, expected=2, actor=ACTOR)
    assert raised.value.code == "jobs-count-changed"
    assert store.stats().by_status["pending"] == 3
    assert store.audit() == ()


@pytest.mark.slow
def test_matching_jobs_are_cancelled_only(store: JobStore) -> None:
    add_jobs(store, range(1, 3))
    add_jobs(store, range(3, 5), workflow_id="100%_video")
    chosen = JobFilter((JobStatus.PENDING,), "100%_v")
    assert store.change_many(chosen, BulkChange.CANCEL, expected=2, actor=ACTOR) == 2
    assert store.get(build_name(3)).status is JobStatus.CANCELLED
    assert store.get(build_name(3)).end_time is not None
    assert store.get(build_name(1)).status is JobStatus.PENDING


def test_priority_of_all_is_set(store: JobStore) -> None:
    add_jobs(store, range(1, 3))
    assert store.change_many(WAITING, BulkChange.PRIORITY, expected=2, actor=ACTOR, priority=7) == 2
    assert store.get(build_name(2)).priority == 7
    assert [(entry.old, entry.new) for entry in store.audit()] == [("50", "7"), ("50", "7")]


@pytest.mark.parametrize("priority", [0, 1000, None])
def test_priority_out_of_range_is_refused(store: JobStore, priority: int | None) -> None:
    with pytest.raises(Failure, match="priority"):
        store.change_many(WAITING, BulkChange.PRIORITY, expected=0, actor=ACTOR, priority=priority)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (BulkChange.CANCEL, JobStatus.PROCESSING),
        (BulkChange.RETRY, JobStatus.DONE),
        (BulkChange.RETRY, JobStatus.PENDING),
    ],
)
def test_status_that_does_not_allow_the_change_is_refused(
    store: JobStore, change: BulkChange, status: JobStatus
) -> None:
    with pytest.raises(Failure) as raised:
        store.change_many(JobFilter((status,)), change, expected=0, actor=ACTOR)
    assert raised.value.code == "jobs-job-status"


def test_newer_jobs_are_counted(store: JobStore) -> None:
    add_jobs(store, [1])
    newest = store.find_newest_id()
    add_jobs(store, [2, 3])
    assert store.count_newer(newest) == 2
    assert store.count_newer(store.find_newest_id()) == 0


@pytest.fixture
def server_store(postgresql_store: JobStore) -> JobStore:
    """Return a queue without jobs on PostgreSQL, where transactions of others go on during a change."""
    postgresql_store.database.write(delete_rows)
    return postgresql_store


def test_jobs_that_appear_during_a_change_stay_as_they_are(server_store: JobStore) -> None:
    add_jobs(server_store, range(1, 3))
    engine = server_store.database.engine
    locks: list[str] = []

    @sa.event.listens_for(engine, "after_cursor_execute")
    def add_another(*event: Any) -> None:
        if "FOR UPDATE" in event[2] and not locks:
            locks.append(event[2])
            add_jobs(server_store, [3])

    try:
        assert server_store.change_many(WAITING, BulkChange.CANCEL, expected=2, actor=ACTOR) == 2
    finally:
        sa.event.remove(engine, "after_cursor_execute", add_another)
    assert len(locks) == 1
    assert server_store.get(build_name(3)).status is JobStatus.PENDING
    assert server_store.audit(build_name(3)) == ()


def test_jobs_that_change_while_they_are_locked_do_not_match(server_store: JobStore) -> None:
    fail_jobs(server_store, range(1, 3), "out of memory")
    engine = server_store.database.engine
    waiting = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")

    def has_waiter() -> bool:
        with engine.connect() as connection:
            return bool(connection.execute(waiting).scalar_one())

    with ThreadPoolExecutor(1) as executor:
        with engine.begin() as connection:
            build_retry(build_name(1), actor=ACTOR)(connection)
            change = executor.submit(server_store.change_many, FAILED, BulkChange.RETRY, expected=2, actor=ACTOR)
            deadline = time.monotonic() + 60
            while not has_waiter() and not change.done() and time.monotonic() < deadline:
                time.sleep(0.005)
        with pytest.raises(Failure) as raised:
            change.result(60)
    assert raised.value.code == "jobs-count-changed"
    assert server_store.get(build_name(2)).status is JobStatus.FAILED


def test_more_jobs_than_one_statement_names_are_changed(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "_IDS_PER_STATEMENT", 2)
    add_jobs(store, range(1, 6))
    assert store.change_many(WAITING, BulkChange.CANCEL, expected=5, actor=ACTOR) == 5
    assert store.stats().by_status["cancelled"] == 5
    assert len(store.audit()) == 5
