from __future__ import annotations

from collections.abc import Callable

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.jobs.records import Actor, AttemptOutcome, Interface, JobStatus
from comfywatchman.jobs.store.job_store import JobStore
from tests.jobs.jobs import (
    ACTOR,
    DONE,
    FAILED,
    SPEC,
    add_jobs,
    build_name,
    build_spec,
    lease,
    start_worker,
    try_lease,
)

NAME = SPEC.config_name


def test_priority_is_changed_and_recorded(store: JobStore) -> None:
    store.upsert(SPEC)
    store.set_priority(NAME, 3, actor=Actor("ann", Interface.WEB))
    assert store.get(NAME).priority == 3
    (entry,) = store.audit(NAME)
    assert (entry.actor, entry.interface, entry.action) == ("ann", "web", "set-priority")
    assert (entry.config_name, entry.old, entry.new) == (NAME, "50", "3")


def test_same_priority_again_is_not_recorded(store: JobStore) -> None:
    store.upsert(SPEC)
    store.set_priority(NAME, 50, actor=ACTOR)
    assert store.audit() == ()


@pytest.mark.parametrize("priority", [0, 1000, -1])
def test_priority_out_of_range_is_refused(store: JobStore, priority: int) -> None:
    store.upsert(SPEC)
    with pytest.raises(Failure) as caught:
        store.set_priority(NAME, priority, actor=ACTOR)
    assert caught.value.code == "jobs-priority-range"
    assert store.get(NAME).priority == 50


@pytest.mark.parametrize("priority", [1, 999])
def test_priority_at_the_limits_is_accepted(store: JobStore, priority: int) -> None:
    store.upsert(SPEC)
    store.set_priority(NAME, priority, actor=ACTOR)
    assert store.get(NAME).priority == priority


def test_god_mode_makes_a_job_the_next_one(store: JobStore) -> None:
    add_jobs(store, range(3), priority=2)
    store.god_mode(build_name(2), actor=ACTOR)
    assert lease(store, start_worker(store)).job.config_name == build_name(2)
    assert [entry.action for entry in store.audit()] == ["god-mode"]


@pytest.mark.parametrize(
    "command",
    [
        lambda store: store.set_priority("x", 1, actor=ACTOR),
        lambda store: store.god_mode("x", actor=ACTOR),
        lambda store: store.retry("x", actor=ACTOR),
        lambda store: store.cancel("x", actor=ACTOR),
        lambda store: store.get("x"),
    ],
)
def test_command_for_an_unknown_job_fails(store: JobStore, command: Callable[[JobStore], object]) -> None:
    with pytest.raises(Failure) as caught:
        command(store)
    assert caught.value.code == "jobs-job-unknown"
    assert caught.value.facts == {"config_name": "x"}
    assert store.audit() == ()


def test_retry_grants_new_retries_and_keeps_the_totals(store: JobStore) -> None:
    store.upsert(build_spec(1, retry_limit=1))
    worker = start_worker(store)
    name = build_name(1)
    for _ in range(2):
        store.complete(lease(store, worker), FAILED)
    assert store.get(name).status is JobStatus.FAILED
    store.retry(name, actor=ACTOR)
    job = store.get(name)
    assert (job.status, job.run_count, job.retries_attempted) == (JobStatus.PENDING, 2, 1)
    assert (job.error_code, job.end_time, job.duration) == (None, None, None)
    statuses = [store.complete(lease(store, worker), FAILED).status for _ in range(2)]
    assert statuses == [JobStatus.PENDING, JobStatus.FAILED]
    job = store.get(name)
    assert (job.run_count, job.retries_attempted) == (4, 2)
    assert [entry.action for entry in store.audit(name)] == ["retry"]


def test_retry_of_a_waiting_job_changes_nothing(store: JobStore) -> None:
    store.upsert(SPEC)
    store.retry(NAME, actor=ACTOR)
    assert store.get(NAME).status is JobStatus.PENDING
    assert store.audit() == ()


def test_job_in_quarantine_can_be_retried(store: JobStore) -> None:
    store.upsert(SPEC)
    worker = start_worker(store)
    killed = AttemptOutcome(success=False, killed_comfyui=True)
    for _ in range(2):
        store.complete(lease(store, worker), killed)
    store.retry(NAME, actor=ACTOR)
    assert store.complete(lease(store, worker), killed).status is JobStatus.PENDING


@pytest.mark.parametrize("status", [JobStatus.PROCESSING, JobStatus.DONE, JobStatus.CANCELLED])
def test_job_that_did_not_fail_cannot_be_retried(store: JobStore, status: JobStatus) -> None:
    store.upsert(SPEC)
    if status is JobStatus.CANCELLED:
        store.cancel(NAME, actor=ACTOR)
    else:
        taken = lease(store, start_worker(store))
        if status is JobStatus.DONE:
            store.complete(taken, DONE)
    with pytest.raises(Failure) as caught:
        store.retry(NAME, actor=ACTOR)
    assert caught.value.code == "jobs-job-status"
    assert store.get(NAME).status is status


def test_waiting_job_is_cancelled_at_once(store: JobStore) -> None:
    store.upsert(SPEC)
    assert store.cancel(NAME, actor=ACTOR) is JobStatus.CANCELLED
    assert store.cancel(NAME, actor=ACTOR) is JobStatus.CANCELLED
    assert store.get(NAME).end_time is not None
    assert try_lease(store, start_worker(store)) is None
    assert [(entry.action, entry.old, entry.new) for entry in store.audit(NAME)] == [("cancel", "pending", "cancelled")]


def test_running_job_is_cancelled_by_its_worker(store: JobStore) -> None:
    store.upsert(SPEC)
    taken = lease(store, start_worker(store))
    assert not store.is_cancel_requested(taken)
    assert store.cancel(NAME, actor=ACTOR) is JobStatus.PROCESSING
    assert store.cancel(NAME, actor=ACTOR) is JobStatus.PROCESSING
    assert store.is_cancel_requested(taken)
    assert store.get(NAME).is_cancel_requested
    answer = store.complete(taken, AttemptOutcome(success=False, was_cancelled=True))
    assert (answer.accepted, answer.status) == (True, JobStatus.CANCELLED)
    assert not store.is_cancel_requested(taken)
    assert len(store.audit(NAME)) == 1


def test_ended_job_cannot_be_cancelled(store: JobStore) -> None:
    store.upsert(SPEC)
    store.complete(lease(store, start_worker(store)), DONE)
    with pytest.raises(Failure) as caught:
        store.cancel(NAME, actor=ACTOR)
    assert caught.value.code == "jobs-job-status"


def test_pause_and_resume_are_recorded_once(store: JobStore) -> None:
    for _ in range(2):
        store.pause(actor=ACTOR)
    assert store.is_paused()
    for _ in range(2):
        store.resume(actor=ACTOR)
    assert not store.is_paused()
    assert [(entry.action, entry.config_name) for entry in store.audit()] == [("resume", None), ("pause", None)]
    assert len(store.audit(limit=1)) == 1
