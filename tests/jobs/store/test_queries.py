from __future__ import annotations

import pytest

from comfywatchman.jobs.records import AttemptOutcome, JobStatus
from comfywatchman.jobs.store.job_store import JobStore
from comfywatchman.jobs.store.queries import JobOrder
from tests.jobs.jobs import ACTOR, DONE, SPEC, add_jobs, build_name, build_spec, lease, move_clock, start_worker


def list_numbers(store: JobStore, status: JobStatus | None = None, **options: object) -> list[int]:
    jobs = store.list_jobs(status, **options)  # type: ignore[arg-type]
    return [int(job.config_name.split("_")[2]) for job in jobs]


def test_list_has_the_order_of_the_queue(store: JobStore) -> None:
    for number, priority in enumerate([50, 1, 50, 999]):
        store.upsert(build_spec(number, priority=priority))
    assert list_numbers(store) == [1, 0, 2, 3]
    assert list_numbers(store, order=JobOrder.NEWEST) == [3, 2, 1, 0]
    assert list_numbers(store, order=JobOrder.OLDEST) == [0, 1, 2, 3]


def test_running_jobs_come_first_and_ended_ones_last(store: JobStore) -> None:
    for number in range(6):
        store.upsert(build_spec(number, priority=50 - number))
    worker = start_worker(store)
    for _ in range(2):
        store.complete(lease(store, worker), DONE)
    store.complete(lease(store, worker), AttemptOutcome(success=False, retryable=False))
    lease(store, worker)
    assert list_numbers(store) == [2, 1, 0, 3, 5, 4]
    pages = []
    after = None
    while page := store.list_jobs(limit=2, after=after):
        pages += [int(job.config_name.split("_")[2]) for job in page]
        after = page[-1].id
    assert pages == [2, 1, 0, 3, 5, 4]
    assert list_numbers(store, JobStatus.DONE) == [5, 4]
    assert list_numbers(store, after=999) == []


@pytest.mark.parametrize("order", list(JobOrder))
def test_pages_show_every_job_once(store: JobStore, order: JobOrder) -> None:
    for number in range(7):
        store.upsert(build_spec(number, priority=50 - number % 3))
    whole = list_numbers(store, order=order)
    paged: list[int] = []
    after = None
    while page := store.list_jobs(limit=2, after=after, order=order):
        paged += [int(job.config_name.split("_")[2]) for job in page]
        after = page[-1].id
    assert paged == whole
    assert sorted(whole) == list(range(7))


def test_list_is_filtered_by_status_and_text(store: JobStore) -> None:
    add_jobs(store, range(3))
    store.upsert(build_spec(3, workflow_id="wan_100%"))
    store.complete(lease(store, start_worker(store)), DONE)
    assert list_numbers(store, JobStatus.DONE) == [0]
    assert list_numbers(store, JobStatus.PENDING) == [1, 2, 3]
    assert list_numbers(store, text="wan_100%") == [3]
    assert list_numbers(store, text="_2_cat") == [2]
    assert list_numbers(store, text="%") == [3]
    assert list_numbers(store, JobStatus.DONE, text="wan") == []


def test_figures_count_every_status(store: JobStore) -> None:
    add_jobs(store, range(4))
    worker = start_worker(store)
    first = lease(store, worker)
    move_clock(store, 1000)
    store.complete(first, DONE)
    store.complete(lease(store, worker), AttemptOutcome(success=False, retryable=False))
    lease(store, worker)
    stats = store.stats()
    assert stats.total_jobs == 4
    assert stats.by_status == {
        "pending": 1,
        "processing": 1,
        "done": 1,
        "failed": 1,
        "cancelled": 0,
        "quarantined": 0,
    }
    assert stats.average_duration_seconds == pytest.approx(1000, abs=60)
    assert stats.oldest_pending_seconds == pytest.approx(1000, abs=60)
    assert not stats.is_paused


def test_figures_of_an_empty_queue(store: JobStore) -> None:
    store.pause(actor=ACTOR)
    stats = store.stats()
    assert (stats.total_jobs, stats.average_duration_seconds, stats.oldest_pending_seconds) == (0, None, None)
    assert stats.is_paused


def test_runs_of_a_job_are_listed_in_order(store: JobStore) -> None:
    store.upsert(SPEC)
    worker = start_worker(store)
    failure = AttemptOutcome(success=False, error_code="oom", error_text="out of memory", metadata={"peak_gb": 23})
    store.complete(lease(store, worker), failure)
    store.complete(lease(store, worker), DONE)
    first, second = store.attempts(SPEC.config_name)
    assert (first.attempt, first.outcome, first.error_code, first.error_text) == (1, "failed", "oom", "out of memory")
    assert (first.metadata, first.worker_id, first.host) == ({"peak_gb": 23}, worker, "one")
    assert first.ended_at is not None
    assert first.ended_at >= first.started_at
    assert (second.attempt, second.outcome, second.error_code) == (2, "done", None)
    assert store.attempts(build_name(9)) == ()


def test_each_choice_of_models_is_listed_once(store: JobStore) -> None:
    add_jobs(store, [1, 2], readiness_key="sdxl with b")
    add_jobs(store, [3], readiness_key="sdxl with a")
    add_jobs(store, [4, 5], workflow_id="sdxl", readiness_key="sdxl")
    add_jobs(store, [6], workflow_id="sdxl")
    assert [spec.readiness_key for spec in store.list_variants()] == ["sdxl with a", "sdxl with b"]
    lease(store, start_worker(store))
    lease(store, start_worker(store))
    assert [spec.readiness_key for spec in store.list_variants()] == ["sdxl with a"]


def test_empty_queue_has_no_variants(store: JobStore) -> None:
    assert store.list_variants() == ()
