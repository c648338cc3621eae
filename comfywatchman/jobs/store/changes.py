"""Changes that people make to jobs and to the queue. Each one leaves an entry in the audit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import sqlalchemy as sa

from comfywatchman.base.errors import Failure
from comfywatchman.jobs.records import MAX_PRIORITY, MIN_PRIORITY, Actor, JobStatus
from comfywatchman.jobs.store.tables import DatabaseNow, audit, jobs, queue_state, status_literal

FAILED_STATUSES: Final = (JobStatus.FAILED, JobStatus.QUARANTINED)
"""The statuses of jobs that failed, which a person can retry."""

RETRY_VALUES: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "status": status_literal(JobStatus.PENDING),
        "retries_base": jobs.c.retries_attempted,
        "interruptions": 0,
        "comfyui_kills": 0,
        "error_code": None,
        "end_time": None,
        "duration": None,
    }
)
"""The columns that a retry changes."""


def check_priority(priority: int | None) -> None:
    """Check that a number is a priority.

    Raises:
        Failure: `jobs-priority-range`.
    """
    if priority is None or not MIN_PRIORITY <= priority <= MAX_PRIORITY:
        raise Failure(
            "jobs-priority-range",
            f"{priority} is not a priority.",
            hint=f"Give a whole number from {MIN_PRIORITY} (first) to {MAX_PRIORITY} (last).",
        )


def build_priority_change(
    name: str, priority: int, *, actor: Actor, action: str = "set-priority"
) -> Callable[[sa.Connection], None]:
    """Return the transaction that changes the priority of a job.

    Raises:
        Failure: `jobs-priority-range`; the transaction raises `jobs-job-unknown`.
    """
    check_priority(priority)

    def change(connection: sa.Connection) -> None:
        row = _lock_job(connection, name)
        if row.priority == priority:
            return
        _update_job(connection, row.id, priority=priority)
        _record(connection, actor, action, name, old=str(row.priority), new=str(priority))

    return change


def build_retry(name: str, *, actor: Actor) -> Callable[[sa.Connection], None]:
    """Return the transaction that queues a failed job again with new retries; the totals stay.

    The transaction raises `jobs-job-unknown`, or `jobs-job-status` for a job that did not fail.
    """

    def retry(connection: sa.Connection) -> None:
        row = _lock_job(connection, name)
        status = JobStatus(row.status)
        if status is JobStatus.PENDING:
            return
        if status not in FAILED_STATUSES:
            raise Failure(
                "jobs-job-status",
                f"{name} is {status}: only failed jobs and those in quarantine can be retried.",
                hint="To run a job again, give its file another name.",
            )
        _update_job(connection, row.id, **RETRY_VALUES)
        _record(connection, actor, "retry", name, old=status.value, new=JobStatus.PENDING.value)

    return retry


def build_cancel(name: str, *, actor: Actor) -> Callable[[sa.Connection], JobStatus]:
    """Return the transaction that cancels a job: a waiting one at once, a running one through its worker.

    It returns the status of the job now. It raises `jobs-job-unknown`, or `jobs-job-status` for a job that has ended.
    """

    def cancel(connection: sa.Connection) -> JobStatus:
        row = _lock_job(connection, name)
        status = JobStatus(row.status)
        if status is JobStatus.CANCELLED or row.cancel_requested:
            return status
        if status.is_terminal:
            raise Failure("jobs-job-status", f"{name} has ended ({status}), so there is nothing to cancel.")
        if status is JobStatus.PENDING:
            status = JobStatus.CANCELLED
            _update_job(connection, row.id, status=status_literal(status), end_time=DatabaseNow())
        else:
            _update_job(connection, row.id, cancel_requested=sa.true())
        _record(connection, actor, "cancel", name, old=row.status, new=JobStatus.CANCELLED.value)
        return status

    return cancel


def build_pause(is_paused: bool, *, actor: Actor) -> Callable[[sa.Connection], None]:  # noqa: FBT001 - the new state
    """Return the transaction that stops or resumes leasing, for all hosts."""

    def pause(connection: sa.Connection) -> None:
        was_paused = connection.execute(sa.select(queue_state.c.is_paused).with_for_update()).scalar_one()
        if was_paused == is_paused:
            return
        connection.execute(queue_state.update().values(is_paused=is_paused))
        action = "pause" if is_paused else "resume"
        _record(connection, actor, action, None, old=_describe_pause(was_paused), new=_describe_pause(is_paused))

    return pause


def job_unknown_failure(name: str) -> Failure:
    """Return the failure of a command for a job that is not in the database."""
    return Failure(
        "jobs-job-unknown",
        f"There is no job {name}.",
        hint="List the jobs: comfywatchman jobs queue ls",
        facts={"config_name": name},
    )


def _describe_pause(is_paused: bool) -> str:  # noqa: FBT001 - the value of the column
    return "paused" if is_paused else "running"


def _lock_job(connection: sa.Connection, name: str) -> Any:
    columns = (jobs.c.id, jobs.c.status, jobs.c.priority, jobs.c.cancel_requested)
    row = connection.execute(sa.select(*columns).where(jobs.c.config_name == name).with_for_update()).one_or_none()
    if row is None:
        raise job_unknown_failure(name)
    return row


def _update_job(connection: sa.Connection, job_id: int, **values: Any) -> None:
    connection.execute(jobs.update().where(jobs.c.id == job_id).values(updated_at=DatabaseNow(), **values))


def _record(connection: sa.Connection, actor: Actor, action: str, name: str | None, *, old: str, new: str) -> None:
    connection.execute(
        audit.insert().values(
            at=DatabaseNow(),
            actor=actor.name,
            interface=actor.interface.value,
            action=action,
            config_name=name,
            old=old,
            new=new,
        )
    )
