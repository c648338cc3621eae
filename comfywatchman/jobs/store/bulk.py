"""Many jobs at once: counting them, grouping failed ones by their cause, and one change of all that match a filter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa

from comfywatchman.base.errors import Failure
from comfywatchman.base.text import pluralize
from comfywatchman.jobs.records import Actor, Job, JobStatus
from comfywatchman.jobs.store.changes import FAILED_STATUSES, RETRY_VALUES, check_priority
from comfywatchman.jobs.store.rows import JOB_COLUMNS, JOBS_WITH_WORKERS, read_job, read_time
from comfywatchman.jobs.store.tables import DatabaseNow, audit, is_status, jobs, status_literal

HEAD_CHARS: Final = 100
"""Failed jobs have the same cause when their codes and the begins of their error texts are the same."""

_IDS_PER_STATEMENT: Final = 5000
"""Below the number of variables that SQLite and PostgreSQL accept in one statement."""


class BulkChange(StrEnum):
    """A change of many jobs."""

    RETRY = "retry"
    CANCEL = "cancel"
    PRIORITY = "set-priority"


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs.

    Attributes:
        statuses: Those with one of these statuses.
        text: Those whose name or workflow contains it; empty: all.
        error_code: Those that failed with this code; None: with any, or none.
        error_head: Those whose error text begins with it, as `FailureGroup.head` has it; None: all.
    """

    statuses: tuple[JobStatus, ...]
    text: str = ""
    error_code: str | None = None
    error_head: str | None = None


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Failed jobs of one cause.

    Attributes:
        error_code: Their code; empty for none.
        head: The first characters of their error texts.
        count: How many there are.
        first_at: When the first of them ended; None when that is not known.
        last_at: When the last of them ended.
        newest: The newest of them.
    """

    error_code: str
    head: str
    count: int
    first_at: datetime | None
    last_at: datetime | None
    newest: Job


def count_jobs(connection: sa.Connection, job_filter: JobFilter) -> int:
    """Return how many jobs match."""
    query = sa.select(sa.func.count()).select_from(jobs).where(_build_condition(job_filter))
    return int(connection.execute(query).scalar_one())


def count_newer(connection: sa.Connection, job_id: int) -> int:
    """Return how many jobs came after one."""
    query = sa.select(sa.func.count()).select_from(jobs).where(jobs.c.id > job_id)
    return int(connection.execute(query).scalar_one())


def read_newest_id(connection: sa.Connection) -> int:
    """Return the id of the newest job; 0 without jobs."""
    return int(connection.execute(sa.select(sa.func.coalesce(sa.func.max(jobs.c.id), 0))).scalar_one())


def read_failure_groups(connection: sa.Connection, *, limit: int, text: str = "") -> tuple[FailureGroup, ...]:
    """Return the causes of failed jobs, the most frequent first.

    Args:
        connection: The connection.
        limit: How many causes.
        text: Only jobs whose name or workflow contains it.
    """
    code, head = sa.func.coalesce(jobs.c.error_code, ""), _error_head()
    newest, count = sa.func.max(jobs.c.id), sa.func.count()
    query = (
        sa.select(
            code.label("code"),
            head.label("head"),
            count.label("count"),
            sa.func.min(jobs.c.end_time).label("first_at"),
            sa.func.max(jobs.c.end_time).label("last_at"),
            newest.label("newest"),
        )
        .where(_build_condition(JobFilter(FAILED_STATUSES, text)))
        .group_by(code, head)
        .order_by(count.desc(), newest.desc())
        .limit(limit)
    )
    rows = connection.execute(query).mappings().all()
    found = _read_jobs_with_ids(connection, [row["newest"] for row in rows])
    return tuple(
        FailureGroup(
            error_code=row["code"],
            head=row["head"],
            count=row["count"],
            first_at=read_time(row["first_at"]),
            last_at=read_time(row["last_at"]),
            newest=found[row["newest"]],
        )
        for row in rows
    )


def read_matching(connection: sa.Connection, job_filter: JobFilter, *, limit: int) -> tuple[Job, ...]:
    """Return the newest jobs that match."""
    query = sa.select(*JOB_COLUMNS).select_from(JOBS_WITH_WORKERS).where(_build_condition(job_filter))
    rows = connection.execute(query.order_by(jobs.c.id.desc()).limit(limit)).mappings()
    return tuple(read_job(row) for row in rows)


def build_bulk_change(
    job_filter: JobFilter, change: BulkChange, *, expected: int, actor: Actor, priority: int | None = None
) -> Callable[[sa.Connection], int]:
    """Return the transaction that changes all jobs that match, if they are as many as the person confirmed.

    It returns their number. It raises `jobs-count-changed` when others match by now.

    Args:
        job_filter: Which jobs.
        change: What to do with each.
        expected: The number that was confirmed.
        actor: Who makes the change.
        priority: The new priority.

    Raises:
        Failure: `jobs-priority-range`, or `jobs-job-status` for statuses that the change is not for.
    """
    _check_bulk(job_filter, change, priority)

    def run(connection: sa.Connection) -> int:
        ids = _lock_matching(connection, job_filter)
        count = len(ids)
        if count != expected:
            raise Failure(
                "jobs-count-changed",
                f"{pluralize(expected, 'job')} were confirmed, but {count} match now. Nothing was changed.",
                hint="Look at the list again, and confirm the new number.",
                facts={"expected": expected, "count": count},
            )
        # By their ids: jobs that match since they were counted must not be changed.
        for start in range(0, count, _IDS_PER_STATEMENT):
            locked = jobs.c.id.in_(ids[start : start + _IDS_PER_STATEMENT])
            _record_all(connection, locked, change, actor, priority)
            connection.execute(
                jobs.update().where(locked).values(updated_at=DatabaseNow(), **_values(change, priority))
            )
        return count

    return run


def _lock_matching(connection: sa.Connection, job_filter: JobFilter) -> list[int]:
    """Return the ids of the jobs that match, in order, and lock these jobs."""
    # The status stands in the condition itself too: after it has waited for a lock, PostgreSQL looks at the row again,
    # but not at subqueries.
    has_status = sa.or_(*(is_status(status) for status in job_filter.statuses))
    condition = sa.and_(_build_condition(job_filter), has_status)
    query = sa.select(jobs.c.id).where(condition).order_by(jobs.c.id).with_for_update()
    return list(connection.execute(query).scalars())


def _check_bulk(job_filter: JobFilter, change: BulkChange, priority: int | None) -> None:
    allowed = FAILED_STATUSES if change is BulkChange.RETRY else (JobStatus.PENDING,)
    if not set(job_filter.statuses) <= set(allowed):
        raise Failure("jobs-job-status", f"Not all of these jobs can be changed by {change.value}.")
    if change is BulkChange.PRIORITY:
        check_priority(priority)


def _values(change: BulkChange, priority: int | None) -> dict[str, Any]:
    if change is BulkChange.PRIORITY:
        return {"priority": priority}
    if change is BulkChange.CANCEL:
        return {"status": status_literal(JobStatus.CANCELLED), "end_time": DatabaseNow()}
    return dict(RETRY_VALUES)


def _record_all(
    connection: sa.Connection, condition: sa.ColumnElement[bool], change: BulkChange, actor: Actor, priority: int | None
) -> None:
    """Write an entry of the audit for each job, with one statement."""
    old: sa.ColumnElement[Any] = jobs.c.status
    new = {BulkChange.RETRY: "pending", BulkChange.CANCEL: "cancelled"}.get(change, str(priority))
    if change is BulkChange.PRIORITY:
        old = sa.cast(jobs.c.priority, sa.Text)
    source = sa.select(
        DatabaseNow(),
        sa.literal(actor.name, sa.Text),
        sa.literal(actor.interface.value, sa.Text),
        sa.literal(change.value, sa.Text),
        jobs.c.config_name,
        old,
        sa.literal(new, sa.Text),
    ).where(condition)
    columns = ["at", "actor", "interface", "action", "config_name", "old", "new"]
    connection.execute(audit.insert().from_select(columns, source))


def _read_jobs_with_ids(connection: sa.Connection, ids: list[int]) -> dict[int, Job]:
    query = sa.select(*JOB_COLUMNS).select_from(JOBS_WITH_WORKERS).where(jobs.c.id.in_(ids))
    return {job.id: job for job in (read_job(row) for row in connection.execute(query).mappings())}


def _error_head() -> sa.ColumnElement[str]:
    return sa.func.substr(sa.func.coalesce(jobs.c.error_trace, ""), 1, HEAD_CHARS)


def _build_condition(job_filter: JobFilter) -> sa.ColumnElement[bool]:
    # By their ids: a condition of several statuses would use none of the partial indexes, and read every job.
    ids = [sa.select(jobs.c.id).where(is_status(status)) for status in job_filter.statuses]
    parts: list[sa.ColumnElement[bool]] = [
        jobs.c.id.in_(sa.union_all(*ids)) if len(ids) > 1 else is_status(*job_filter.statuses)
    ]
    if job_filter.text:
        name = jobs.c.config_name.contains(job_filter.text, autoescape=True)
        parts.append(sa.or_(name, jobs.c.workflow_id.contains(job_filter.text, autoescape=True)))
    if job_filter.error_code is not None:
        parts.append(sa.func.coalesce(jobs.c.error_code, "") == job_filter.error_code)
    if job_filter.error_head is not None:
        parts.append(_error_head() == job_filter.error_head)
    return sa.and_(*parts)
