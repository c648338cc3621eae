"""What becomes of a job when its run ends: pure rules of statuses, retries and quarantine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from comfywatchman.jobs.records import AttemptOutcome, JobStatus

MAX_COMFYUI_KILLS: Final = 2
"""A job during whose runs ComfyUI ended this often is quarantined, so that the queue goes on."""

MAX_INTERRUPTIONS: Final = 10
"""A job whose runs ended this often without a result (worker lost, ComfyUI restarted) is quarantined."""

KILLED_CODE: Final = "jobs-comfyui-killed"
INTERRUPTED_CODE: Final = "jobs-interrupted"


@dataclass(frozen=True, slots=True)
class RunCounters:
    """The counters of a job that decide whether it runs again.

    Attributes:
        retries_attempted: Number of retries so far.
        retries_base: What it was when a person last granted new retries.
        retry_limit: Number of retries after the first run, and again after each grant.
        interruptions: Runs in a row that ended without a result.
        comfyui_kills: Runs during which ComfyUI ended, since the last grant.
    """

    retries_attempted: int
    retries_base: int
    retry_limit: int
    interruptions: int
    comfyui_kills: int

    @property
    def has_retries_left(self) -> bool:
        """Whether a failed run may be followed by another."""
        return self.retries_attempted - self.retries_base < self.retry_limit


@dataclass(frozen=True, slots=True)
class NextState:
    """The state of a job after a run.

    Attributes:
        status: Pending when it runs again.
        outcome: The entry of the run in the history.
        error_code: Set when the database itself ended the job.
    """

    status: JobStatus
    outcome: str
    retries_attempted: int
    interruptions: int
    comfyui_kills: int
    error_code: str | None = None


def decide_completion(counters: RunCounters, outcome: AttemptOutcome, *, is_cancel_requested: bool) -> NextState:
    """Return the state of a job after a run that its worker reported."""
    if outcome.success:
        # The outputs are published already: a request to cancel came too late.
        return _end(counters, JobStatus.DONE, "done")
    if outcome.killed_comfyui and counters.comfyui_kills + 1 >= MAX_COMFYUI_KILLS:
        return NextState(
            status=JobStatus.QUARANTINED,
            outcome="failed",
            retries_attempted=counters.retries_attempted,
            interruptions=counters.interruptions,
            comfyui_kills=counters.comfyui_kills + 1,
            error_code=KILLED_CODE,
        )
    if outcome.was_cancelled or is_cancel_requested:
        return _end(counters, JobStatus.CANCELLED, "cancelled")
    if not outcome.counts_against_job:
        return _interrupt(counters, "requeued", kills=counters.comfyui_kills + outcome.killed_comfyui)
    if not outcome.retryable or not counters.has_retries_left:
        return _end(counters, JobStatus.FAILED, "failed", kills=counters.comfyui_kills + outcome.killed_comfyui)
    return NextState(
        status=JobStatus.PENDING,
        outcome="failed",
        retries_attempted=counters.retries_attempted + 1,
        interruptions=0,
        comfyui_kills=counters.comfyui_kills + outcome.killed_comfyui,
    )


def decide_recovery(counters: RunCounters, *, is_cancel_requested: bool) -> NextState:
    """Return the state of a job whose worker sent no heartbeat in time."""
    if is_cancel_requested:
        return _end(counters, JobStatus.CANCELLED, "lost")
    return _interrupt(counters, "lost", kills=counters.comfyui_kills)


def _end(counters: RunCounters, status: JobStatus, outcome: str, *, kills: int | None = None) -> NextState:
    return NextState(
        status=status,
        outcome=outcome,
        retries_attempted=counters.retries_attempted,
        interruptions=counters.interruptions,
        comfyui_kills=counters.comfyui_kills if kills is None else kills,
    )


def _interrupt(counters: RunCounters, outcome: str, *, kills: int) -> NextState:
    """Queue a job again without using up a retry: the run says nothing about the job."""
    interruptions = counters.interruptions + 1
    is_last = interruptions >= MAX_INTERRUPTIONS
    return NextState(
        status=JobStatus.QUARANTINED if is_last else JobStatus.PENDING,
        outcome=outcome,
        retries_attempted=counters.retries_attempted,
        interruptions=interruptions,
        comfyui_kills=kills,
        error_code=INTERRUPTED_CODE if is_last else None,
    )
