"""Leasing a job to a worker, and every later write of that worker, which must match the attempt of its lease."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from comfywatchman.base.errors import Failure
from comfywatchman.jobs.records import AttemptOutcome, Completion, Job, JobStatus, Lease
from comfywatchman.jobs.store import lease_statements as statements
from comfywatchman.jobs.store.lease_statements import attempt_key, lease_key
from comfywatchman.jobs.store.migrate import agent_older_failure
from comfywatchman.jobs.store.rows import clean_text, encode_json, read_job
from comfywatchman.jobs.store.tables import SCHEMA_VERSION
from comfywatchman.jobs.store.transitions import NextState, RunCounters, decide_completion


@dataclass(frozen=True, slots=True)
class AffinityLimits:
    """How far a job whose models are loaded may go before an older one of the same priority.

    Attributes:
        max_passes: How many times the oldest job is passed over.
        max_wait_seconds: How long the oldest job waits after it was first passed over.
    """

    max_passes: int = 24
    max_wait_seconds: float = 900.0


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """What a worker asks for.

    Attributes:
        ready_workflows: The `readiness_key` of every workflow, and of every choice of models that jobs name, that its
            host can run; None: all.
        loaded_key: The `affinity_key` of the models that its ComfyUI has loaded, if any.
    """

    worker_id: str
    host: str
    lease_seconds: float
    ready_workflows: frozenset[str] | None
    loaded_key: str | None


def build_lease(request: LeaseRequest, limits: AffinityLimits) -> Callable[[sa.Connection], Lease | None]:
    """Return the transaction that leases the next job: by priority, then age, with a preference for loaded models.

    The transaction raises `jobs-worker-unknown` or `jobs-agent-older`.
    """

    def lease(connection: sa.Connection) -> Lease | None:
        touch_worker(connection, request.worker_id)
        state = connection.execute(statements.READ_STATE).one()
        if state.schema_version > SCHEMA_VERSION:
            raise agent_older_failure()
        if state.is_paused:
            return None
        job_id = _choose_job(connection, request, limits)
        if job_id is None:
            return None
        job = _start_attempt(connection, job_id, request)
        return Lease(job=job, attempt=job.attempt, worker_id=request.worker_id, lease_seconds=request.lease_seconds)

    return lease


def touch_worker(connection: sa.Connection, worker_id: str) -> None:
    """Record a sign of life of a worker.

    Raises:
        Failure: `jobs-worker-unknown` when the worker was deleted after a long silence.
    """
    if connection.execute(statements.TOUCH_WORKER, {"worker": worker_id}).rowcount == 0:
        raise Failure(
            "jobs-worker-unknown",
            f"The job database does not know the worker {worker_id}: it was silent for more than a day.",
            hint="Nothing: the agent registers again by itself.",
        )


def _choose_job(connection: sa.Connection, request: LeaseRequest, limits: AffinityLimits) -> int | None:
    ready = request.ready_workflows
    values: dict[str, Any] = {} if ready is None else {"ready": sorted(ready)}
    query = statements.NEXT_JOB if ready is None else statements.NEXT_READY_JOB
    head = connection.execute(query, values).one_or_none()
    if head is None or request.loaded_key is None or head.affinity_key == request.loaded_key:
        return None if head is None else int(head.id)
    waited = head.now - head.first_passed_at if head.first_passed_at is not None else 0.0
    # A clock that went back makes the wait negative; the number of passes still ends it.
    if head.passes >= limits.max_passes or waited >= limits.max_wait_seconds:
        return int(head.id)
    query = statements.NEXT_LOADED_JOB if ready is None else statements.NEXT_READY_LOADED_JOB
    values |= {"priority": head.priority, "key": request.loaded_key}
    preferred = connection.execute(query, values).one_or_none()
    if preferred is None:
        return int(head.id)
    connection.execute(statements.PASS_OVER, {"job": head.id})
    return int(preferred.id)


def _start_attempt(connection: sa.Connection, job_id: int, request: LeaseRequest) -> Job:
    values = {
        "job": job_id,
        "new_worker": request.worker_id,
        "new_host": request.host,
        "new_lease_seconds": request.lease_seconds,
    }
    row = connection.execute(statements.START_JOB, values).mappings().one()
    run = {
        "job_id": job_id,
        "attempt": row["attempt"],
        "worker_id": request.worker_id,
        "host": request.host,
        "started_at": row["start_time"],
        "outcome": "running",
    }
    connection.execute(statements.ADD_ATTEMPT, run)
    return read_job(row)


def build_completion(lease: Lease, outcome: AttemptOutcome) -> Callable[[sa.Connection], Completion]:
    """Return the transaction that ends a run: the result is refused when the lease was lost.

    Ending the same run again answers the same: the first answer may have been lost with the connection.
    """

    def complete(connection: sa.Connection) -> Completion:
        row = connection.execute(statements.LOCK_HELD, lease_key(lease)).mappings().one_or_none()
        if row is None:
            return _answer_again(connection, lease)
        state = decide_completion(read_counters(row), outcome, is_cancel_requested=row["cancel_requested"])
        _end_run(connection, lease, outcome, state)
        return Completion(accepted=True, status=state.status)

    return complete


def _end_run(connection: sa.Connection, lease: Lease, outcome: AttemptOutcome, state: NextState) -> None:
    written = {
        "new_error_code": None if outcome.success else state.error_code or outcome.error_code,
        "new_error_text": None if outcome.success else clean_text(outcome.error_text),
        "new_metadata": encode_json(outcome.metadata),
    }
    counters = {
        "job": lease.job.id,
        "new_status": state.status.value,
        "new_retries": state.retries_attempted,
        "new_interruptions": state.interruptions,
        "new_kills": state.comfyui_kills,
    }
    connection.execute(statements.END_JOB, counters | written)
    run = {**attempt_key(lease), "new_outcome": state.outcome}
    connection.execute(statements.END_ATTEMPT, run | written)


def _answer_again(connection: sa.Connection, lease: Lease) -> Completion:
    status = connection.execute(statements.READ_STATUS, {"job": lease.job.id}).scalar_one_or_none()
    outcome = connection.execute(statements.READ_OUTCOME, attempt_key(lease)).scalar_one_or_none()
    was_accepted = outcome is not None and outcome not in {"running", "lost"}
    # A job that is gone was deleted from the history after it had ended.
    return Completion(accepted=was_accepted, status=JobStatus(status or JobStatus.DONE))


def build_prompt_note(lease: Lease, prompt_id: str) -> Callable[[sa.Connection], bool]:
    """Return the transaction that records a prompt which a run sends to ComfyUI; False when the lease was lost."""

    def note(connection: sa.Connection) -> bool:
        if connection.execute(statements.LOCK_HELD, lease_key(lease)).one_or_none() is None:
            return False
        key = attempt_key(lease)
        known = json.loads(connection.execute(statements.READ_PROMPT_IDS, key).scalar_one())
        connection.execute(statements.WRITE_PROMPT_IDS, key | {"new_prompt_ids": encode_json([*known, prompt_id])})
        return True

    return note


def build_publication_note(lease: Lease, files: Iterable[str]) -> Callable[[sa.Connection], bool]:
    """Return the transaction that records which files a run is about to publish; False when the lease was lost."""
    published = encode_json(list(files))

    def note(connection: sa.Connection) -> bool:
        if connection.execute(statements.LOCK_HELD, lease_key(lease)).one_or_none() is None:
            return False
        connection.execute(statements.WRITE_PUBLISHED, attempt_key(lease) | {"new_published": published})
        return True

    return note


def has_lease(connection: sa.Connection, lease: Lease) -> bool:
    """Return whether the lease is still that of its worker and has not run out."""
    row = connection.execute(statements.READ_LEASE_END, lease_key(lease)).one_or_none()
    if row is None:
        return False
    last_beat = row.last_beat if row.last_beat is not None else 0.0
    return bool(max(row.lease_expires_at, last_beat + row.lease_seconds) > row.now)


def has_cancel_request(connection: sa.Connection, lease: Lease) -> bool:
    """Return whether a person asked to cancel the job of a lease."""
    return bool(connection.execute(statements.READ_CANCEL_REQUEST, lease_key(lease)).scalar_one_or_none())


def read_counters(row: Any) -> RunCounters:
    """Return the counter columns of a row."""
    return RunCounters(
        retries_attempted=row["retries_attempted"],
        retries_base=row["retries_base"],
        retry_limit=row["retry_limit"],
        interruptions=row["interruptions"],
        comfyui_kills=row["comfyui_kills"],
    )
