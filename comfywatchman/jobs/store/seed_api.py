"""The queue as plain functions of rows, for programs that were written for the first version of this agent.

A row is a mapping with the names of the columns of `jobs`. New code uses `JobStore`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from comfywatchman.jobs.records import MEDIA_OF_TYPE, Actor, AttemptOutcome, Interface, Job, JobSpec, JobStatus, Lease
from comfywatchman.jobs.store import fleet, queries
from comfywatchman.jobs.store.engine import open_engine
from comfywatchman.jobs.store.job_store import JobStore
from comfywatchman.jobs.store.migrate import upgrade_database
from comfywatchman.jobs.store.session import JobDatabase

_ACTOR: Final = "plain functions"
"""The name of this interface in the audit."""

_SPEC_FIELDS = frozenset(JobSpec.__dataclass_fields__)


def init_db(db_path: str) -> JobStore:
    """Create the tables and indexes of a SQLite database where they are missing, and open it."""
    store = JobStore(JobDatabase(open_engine(f"sqlite:///{db_path}")))
    upgrade_database(store.database)
    return store


def upsert_job(db: JobStore, row: Mapping[str, Any]) -> int:
    """Insert a job, or update a waiting one of the same `config_name`; return its id.

    Raises:
        ValueError: The row lacks a column, or one has a wrong value.
    """
    values = {name: value for name, value in row.items() if name in _SPEC_FIELDS and value is not None}
    values.setdefault("media", MEDIA_OF_TYPE.get(str(row.get("job_type")), ""))
    try:
        spec = msgspec.convert(values, JobSpec)
    except msgspec.ValidationError as error:
        raise ValueError(f"The row is not a job: {error}") from error
    return db.upsert(spec).job_id


def lease_next_job(db: JobStore, worker_id: str, lease_seconds: float) -> dict[str, Any] | None:
    """Lease the next pending job by priority and id, and return its row; None when no job is pending.

    Raises:
        Failure: `jobs-agent-older`.
    """
    if not db.beat(worker_id):
        register = fleet.build_registration("", version="", gpu="", lease_seconds=lease_seconds, worker_id=worker_id)
        db.database.write(register)
    lease = db.lease_next(worker_id, lease_seconds=lease_seconds, host="")
    return None if lease is None else job_row(lease.job)


def complete_job(db: JobStore, id: int, *, success: bool, updates: Mapping[str, Any]) -> None:  # noqa: A002 - given
    """End the current run of a job.

    Args:
        db: The queue.
        id: The job.
        success: Whether it is done. Otherwise it waits again while retries are left, and has failed then.
        updates: `metadata`, or `error_trace`.

    Raises:
        ValueError: The job does not run.
    """
    job = db.database.read(lambda connection: queries.read_job_with_id(connection, id))
    if job is None or job.worker_id is None or job.status is not JobStatus.PROCESSING:
        raise ValueError(f"Job {id} does not run.")
    outcome = AttemptOutcome(
        success=success,
        error_code=updates.get("error_code"),
        error_text=updates.get("error_trace"),
        metadata=updates.get("metadata") or {},
    )
    db.complete(Lease(job=job, attempt=job.attempt, worker_id=job.worker_id, lease_seconds=0.0), outcome)


def recover_orphans(db: JobStore, now: datetime) -> int:
    """Queue the jobs whose leases ended before a time again; return how many."""
    return db.recover_orphans(now=now)


def apply_god_mode(db: JobStore, config_name: str) -> None:
    """Give a job the priority 1.

    Raises:
        Failure: `jobs-job-unknown`.
    """
    db.god_mode(config_name, actor=Actor(_ACTOR, Interface.API))


def job_row(job: Job) -> dict[str, Any]:
    """Return a job as a row."""
    row: dict[str, Any] = msgspec.to_builtins(job, builtin_types=(datetime,))
    return row
