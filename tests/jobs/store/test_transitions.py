from __future__ import annotations

from dataclasses import replace

import pytest

from comfywatchman.jobs.records import AttemptOutcome, JobStatus
from comfywatchman.jobs.store.transitions import (
    INTERRUPTED_CODE,
    KILLED_CODE,
    MAX_INTERRUPTIONS,
    NextState,
    RunCounters,
    decide_completion,
    decide_recovery,
)

FRESH = RunCounters(retries_attempted=0, retries_base=0, retry_limit=2, interruptions=0, comfyui_kills=0)
SUCCESS = AttemptOutcome(success=True)
FAILURE = AttemptOutcome(success=False)


def complete(counters: RunCounters, outcome: AttemptOutcome, *, cancel: bool = False) -> NextState:
    return decide_completion(counters, outcome, is_cancel_requested=cancel)


def test_success_ends_the_job_and_keeps_its_totals() -> None:
    state = complete(replace(FRESH, retries_attempted=1, interruptions=3), SUCCESS)
    assert state == NextState(JobStatus.DONE, "done", 1, 3, 0)


def test_success_counts_even_when_a_person_asked_to_cancel() -> None:
    assert complete(FRESH, SUCCESS, cancel=True).status is JobStatus.DONE


@pytest.mark.parametrize(("attempted", "base", "status"), [(0, 0, "pending"), (1, 0, "pending"), (2, 0, "failed")])
def test_failure_uses_up_retries(attempted: int, base: int, status: str) -> None:
    state = complete(replace(FRESH, retries_attempted=attempted, retries_base=base), FAILURE)
    assert state.status == status
    assert state.retries_attempted == attempted + (status == "pending")
    assert state.outcome == "failed"


def test_granted_retries_follow_those_used_up() -> None:
    granted = replace(FRESH, retries_attempted=2, retries_base=2)
    assert complete(granted, FAILURE).retries_attempted == 3
    assert complete(replace(granted, retries_attempted=4), FAILURE).status is JobStatus.FAILED


def test_failure_without_retries_ends_the_job_at_once() -> None:
    assert complete(replace(FRESH, retry_limit=0), FAILURE).status is JobStatus.FAILED


def test_failure_that_cannot_succeed_ends_the_job_at_once() -> None:
    assert complete(FRESH, replace(FAILURE, retryable=False)).status is JobStatus.FAILED


def test_failure_forgets_earlier_interruptions() -> None:
    assert complete(replace(FRESH, interruptions=9), FAILURE).interruptions == 0


@pytest.mark.parametrize("outcome", [replace(FAILURE, was_cancelled=True), FAILURE])
def test_cancelled_run_ends_the_job(outcome: AttemptOutcome) -> None:
    state = complete(FRESH, outcome, cancel=not outcome.was_cancelled)
    assert (state.status, state.outcome, state.retries_attempted) == (JobStatus.CANCELLED, "cancelled", 0)


def test_first_kill_of_comfyui_is_counted() -> None:
    state = complete(FRESH, replace(FAILURE, killed_comfyui=True))
    assert (state.status, state.comfyui_kills) == (JobStatus.PENDING, 1)


@pytest.mark.parametrize(
    "outcome",
    [FAILURE, replace(FAILURE, counts_against_job=False), replace(FAILURE, retryable=False, was_cancelled=True)],
)
def test_second_kill_of_comfyui_quarantines_the_job(outcome: AttemptOutcome) -> None:
    state = complete(replace(FRESH, comfyui_kills=1), replace(outcome, killed_comfyui=True))
    assert state == NextState(JobStatus.QUARANTINED, "failed", 0, 0, 2, KILLED_CODE)


def test_kill_without_retries_left_fails_the_job() -> None:
    state = complete(replace(FRESH, retry_limit=0), replace(FAILURE, killed_comfyui=True))
    assert (state.status, state.comfyui_kills) == (JobStatus.FAILED, 1)


def test_run_that_says_nothing_about_the_job_uses_up_no_retry() -> None:
    outcome = replace(FAILURE, counts_against_job=False, killed_comfyui=True)
    assert complete(FRESH, outcome) == NextState(JobStatus.PENDING, "requeued", 0, 1, 1)


def test_lost_lease_uses_up_no_retry() -> None:
    used_up = replace(FRESH, retries_attempted=2)
    assert decide_recovery(used_up, is_cancel_requested=False) == NextState(JobStatus.PENDING, "lost", 2, 1, 0)


def test_job_interrupted_again_and_again_is_quarantined() -> None:
    counters = replace(FRESH, interruptions=MAX_INTERRUPTIONS - 1)
    state = decide_recovery(counters, is_cancel_requested=False)
    assert state == NextState(JobStatus.QUARANTINED, "lost", 0, MAX_INTERRUPTIONS, 0, INTERRUPTED_CODE)
    last_but_one = replace(FRESH, interruptions=MAX_INTERRUPTIONS - 2)
    assert decide_recovery(last_but_one, is_cancel_requested=False).status is JobStatus.PENDING


def test_lost_lease_of_a_cancelled_job_ends_it() -> None:
    state = decide_recovery(FRESH, is_cancel_requested=True)
    assert state == NextState(JobStatus.CANCELLED, "lost", 0, 0, 0)
