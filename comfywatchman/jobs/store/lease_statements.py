"""The statements of leases, built once: building one costs as much time as running it.

Values are passed by name when a statement is executed. Names that start with `new_` are written.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy import bindparam

from comfywatchman.jobs.records import JobStatus, Lease
from comfywatchman.jobs.store.tables import (
    DatabaseNow,
    attempts,
    is_status,
    jobs,
    queue_state,
    status_literal,
    workers,
)

COUNTER_COLUMNS: Final = (
    jobs.c.retries_attempted,
    jobs.c.retries_base,
    jobs.c.retry_limit,
    jobs.c.interruptions,
    jobs.c.comfyui_kills,
)
"""What decides whether a job runs again."""

_NOW: Final = DatabaseNow()

TOUCH_WORKER: Final = workers.update().where(workers.c.worker_id == bindparam("worker")).values(last_beat=_NOW)
"""Write a heartbeat."""

READ_STATE: Final = sa.select(queue_state.c.schema_version, queue_state.c.is_paused)
"""Read what forbids leasing."""

NEXT_JOB: Final = (
    sa.select(jobs.c.id, jobs.c.priority, jobs.c.affinity_key, jobs.c.passes, jobs.c.first_passed_at, _NOW.label("now"))
    .where(is_status(JobStatus.PENDING))
    .order_by(jobs.c.priority, jobs.c.id)
    .limit(1)
    # Locks the row on PostgreSQL; a SQLite transaction is the only writer anyway.
    .with_for_update(skip_locked=True)
)
"""The next job in the order of the queue."""

# An expression, so that no database reads all jobs of these keys from the index of keys and sorts them.
NEXT_READY_JOB: Final = NEXT_JOB.where(jobs.c.readiness_key.concat("").in_(bindparam("ready", expanding=True)))
"""The next job whose readiness key is among `ready`."""

_IS_PREFERRED: Final = (jobs.c.priority == bindparam("priority"), jobs.c.affinity_key == bindparam("key"))

NEXT_LOADED_JOB: Final = NEXT_JOB.where(*_IS_PREFERRED)
"""The next job of a priority whose models are those of `key`."""

NEXT_READY_LOADED_JOB: Final = NEXT_READY_JOB.where(*_IS_PREFERRED)
"""The same among the readiness keys in `ready`."""

PASS_OVER: Final = (
    jobs.update()
    .where(jobs.c.id == bindparam("job"))
    .values(passes=jobs.c.passes + 1, first_passed_at=sa.func.coalesce(jobs.c.first_passed_at, _NOW))
)
"""Note that a job was passed over."""

START_JOB: Final = (
    jobs.update()
    .where(jobs.c.id == bindparam("job"), is_status(JobStatus.PENDING))
    .values(
        status=status_literal(JobStatus.PROCESSING),
        run_count=jobs.c.run_count + 1,
        attempt=jobs.c.attempt + 1,
        start_time=_NOW,
        end_time=None,
        duration=None,
        worker_id=bindparam("new_worker"),
        host=bindparam("new_host"),
        lease_seconds=bindparam("new_lease_seconds"),
        lease_expires_at=_NOW + bindparam("new_lease_seconds", type_=sa.Double),
        cancel_requested=sa.false(),
        passes=0,
        first_passed_at=None,
        updated_at=_NOW,
    )
    .returning(*jobs.c)
)
"""Lease a job."""

ADD_ATTEMPT: Final = attempts.insert()
"""Enter a run into the history."""

_IS_HELD: Final = (
    jobs.c.id == bindparam("job"),
    jobs.c.attempt == bindparam("attempt_number"),
    jobs.c.worker_id == bindparam("worker"),
    is_status(JobStatus.PROCESSING),
)
"""The fence: a worker whose lease was lost and given on matches no row. Values: `lease_key`."""

_IS_ATTEMPT: Final = (attempts.c.job_id == bindparam("job"), attempts.c.attempt == bindparam("attempt_number"))

LOCK_HELD: Final = sa.select(*COUNTER_COLUMNS, jobs.c.cancel_requested).where(*_IS_HELD).with_for_update()
"""Lock the job of a lease, if it is still held."""

READ_LEASE_END: Final = (
    sa.select(jobs.c.lease_expires_at, jobs.c.lease_seconds, workers.c.last_beat, _NOW.label("now"))
    .select_from(jobs.outerjoin(workers, jobs.c.worker_id == workers.c.worker_id))
    .where(*_IS_HELD)
)
"""Read when a lease ends."""

READ_CANCEL_REQUEST: Final = sa.select(jobs.c.cancel_requested).where(*_IS_HELD)
"""Read whether a person cancelled the job of a lease."""

END_JOB: Final = (
    jobs.update()
    .where(jobs.c.id == bindparam("job"))
    .values(
        status=bindparam("new_status"),
        retries_attempted=bindparam("new_retries"),
        interruptions=bindparam("new_interruptions"),
        comfyui_kills=bindparam("new_kills"),
        end_time=_NOW,
        duration=_NOW - jobs.c.start_time,
        error_code=bindparam("new_error_code"),
        error_trace=bindparam("new_error_text"),
        metadata=bindparam("new_metadata"),
        lease_expires_at=None,
        cancel_requested=sa.false(),
        updated_at=_NOW,
    )
)
"""Write the end of a run to its job."""

END_ATTEMPT: Final = (
    attempts.update()
    .where(*_IS_ATTEMPT)
    .values(
        ended_at=_NOW,
        outcome=bindparam("new_outcome"),
        error_code=bindparam("new_error_code"),
        error_text=bindparam("new_error_text"),
        metadata=bindparam("new_metadata"),
    )
)
"""Write the end of a run to the history."""

READ_STATUS: Final = sa.select(jobs.c.status).where(jobs.c.id == bindparam("job"))
"""Read the status of a job."""

READ_OUTCOME: Final = sa.select(attempts.c.outcome).where(*_IS_ATTEMPT)
"""Read how a run ended."""

READ_PROMPT_IDS: Final = sa.select(attempts.c.prompt_ids).where(*_IS_ATTEMPT)
"""Read the prompts of a run."""

WRITE_PROMPT_IDS: Final = attempts.update().where(*_IS_ATTEMPT).values(prompt_ids=bindparam("new_prompt_ids"))
"""Write the prompts of a run."""

WRITE_PUBLISHED: Final = attempts.update().where(*_IS_ATTEMPT).values(published=bindparam("new_published"))
"""Write the files that a run is about to publish."""


def lease_key(lease: Lease) -> dict[str, object]:
    """Return the values that identify a lease."""
    return {**attempt_key(lease), "worker": lease.worker_id}


def attempt_key(lease: Lease) -> dict[str, object]:
    """Return the values that identify the run of a lease."""
    return {"job": lease.job.id, "attempt_number": lease.attempt}
