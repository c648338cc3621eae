"""Rows of the job database as records, and values as the columns hold them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from comfywatchman.jobs.records import AttemptRecord, AuditRecord, Job, JobStatus, decode_spec
from comfywatchman.jobs.store.tables import jobs, workers

JOB_COLUMNS = (
    *(column for column in jobs.c if column.name != "lease_expires_at"),
    # A heartbeat moves the end of a lease. It is stored with the worker, for it must touch no index of the job.
    sa.case(
        (
            workers.c.last_beat + jobs.c.lease_seconds > jobs.c.lease_expires_at,
            workers.c.last_beat + jobs.c.lease_seconds,
        ),
        else_=jobs.c.lease_expires_at,
    ).label("lease_expires_at"),
)
"""What `read_job` reads from `JOBS_WITH_WORKERS`."""

JOBS_WITH_WORKERS = jobs.outerjoin(workers, jobs.c.worker_id == workers.c.worker_id)


def encode_json(value: Any) -> str:
    r"""Return a value as ASCII JSON: PostgreSQL stores neither a NUL character nor half of a surrogate pair."""
    return json.dumps(value, sort_keys=True, default=str)


def clean_text(text: str | None) -> str | None:
    """Return a text without the characters that a database cannot store."""
    if text is None:
        return None
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def read_time(seconds: float | None) -> datetime | None:
    """Return seconds since 1970 as a UTC time."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def read_known_time(seconds: float) -> datetime:
    """Return seconds since 1970 as a UTC time, where a column has always a value."""
    return datetime.fromtimestamp(seconds, UTC)


def read_job(row: sa.RowMapping) -> Job:
    """Return a row of `JOB_COLUMNS` as a record."""
    return Job(
        id=row["id"],
        config_name=row["config_name"],
        job_type=row["job_type"],
        workflow_id=row["workflow_id"],
        priority=row["priority"],
        status=JobStatus(row["status"]),
        run_count=row["run_count"],
        retries_attempted=row["retries_attempted"],
        retry_limit=row["retry_limit"],
        attempt=row["attempt"],
        start_time=read_time(row["start_time"]),
        end_time=read_time(row["end_time"]),
        duration=row["duration"],
        error_code=row["error_code"],
        error_trace=row["error_trace"],
        metadata=json.loads(row["metadata"]),
        worker_id=row["worker_id"],
        host=row["host"],
        lease_expires_at=read_time(row["lease_expires_at"]),
        created_at=read_known_time(row["created_at"]),
        updated_at=read_known_time(row["updated_at"]),
        spec=decode_spec(row["spec"]),
        is_cancel_requested=row["cancel_requested"],
    )


def read_attempt(row: sa.RowMapping) -> AttemptRecord:
    """Return a row of `attempts` as a record."""
    return AttemptRecord(
        job_id=row["job_id"],
        attempt=row["attempt"],
        worker_id=row["worker_id"],
        host=row["host"],
        started_at=read_known_time(row["started_at"]),
        ended_at=read_time(row["ended_at"]),
        outcome=row["outcome"],
        error_code=row["error_code"],
        error_text=row["error_text"],
        prompt_ids=tuple(json.loads(row["prompt_ids"])),
        published=tuple(json.loads(row["published"])),
        metadata=json.loads(row["metadata"]),
    )


def read_audit(row: sa.RowMapping) -> AuditRecord:
    """Return a row of `audit` as a record."""
    return AuditRecord(
        at=read_known_time(row["at"]),
        actor=row["actor"],
        interface=row["interface"],
        action=row["action"],
        config_name=row["config_name"],
        old=row["old"],
        new=row["new"],
    )
