"""Jobs as JSON, for the command line and the API alike, and the warning about a long queue."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from comfywatchman.base.clock import format_utc

if TYPE_CHECKING:
    from comfywatchman.jobs.records import AttemptRecord, Job


def describe_job(job: Job) -> dict[str, Any]:
    """Return a job for JSON, with the names of the seed's columns."""
    return {
        "id": job.id,
        "config_name": job.config_name,
        "job_type": job.job_type,
        "workflow_id": job.workflow_id,
        "priority": job.priority,
        "status": job.status.value,
        "run_count": job.run_count,
        "retries_attempted": job.retries_attempted,
        "retry_limit": job.retry_limit,
        "attempt": job.attempt,
        "start_time": format_moment(job.start_time),
        "end_time": format_moment(job.end_time),
        "duration": job.duration,
        "error_code": job.error_code,
        "error_trace": job.error_trace,
        "metadata": dict(job.metadata),
        "worker_id": job.worker_id,
        "host": job.host,
        "lease_expires_at": format_moment(job.lease_expires_at),
        "created_at": format_moment(job.created_at),
        "updated_at": format_moment(job.updated_at),
        "cancel_requested": job.is_cancel_requested,
    }


def describe_attempt(attempt: AttemptRecord) -> dict[str, Any]:
    """Return a run of a job for JSON."""
    facts: dict[str, Any] = msgspec.to_builtins(attempt)
    facts["started_at"] = format_moment(attempt.started_at)
    facts["ended_at"] = format_moment(attempt.ended_at)
    return facts


def format_moment(moment: datetime | None) -> str | None:
    """Return a time as our files hold it; None for none."""
    return None if moment is None else format_utc(moment)


def warn_long_queue(pending: int, limit: int) -> str:
    """Return the warning about a long queue; empty for a short one, and with a limit of 0."""
    if not 0 < limit <= pending:
        return ""
    return f"{pending} jobs wait, more than [jobs] pending_warning ({limit}): add a host, or cancel some."
