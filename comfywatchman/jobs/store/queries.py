"""Reading the queue: lists, single jobs with their history, and figures."""

from __future__ import annotations

from enum import StrEnum
from itertools import islice
from typing import Any, Final

import sqlalchemy as sa

from comfywatchman.jobs.records import AttemptRecord, AuditRecord, Job, JobSpec, JobStatus, QueueStats, decode_spec
from comfywatchman.jobs.store.rows import JOB_COLUMNS, JOBS_WITH_WORKERS, read_attempt, read_audit, read_job
from comfywatchman.jobs.store.tables import DatabaseNow, attempts, audit, is_status, jobs, queue_state

_DURATIONS_AVERAGED: Final = 1000
_QUEUE_STATUSES: Final[tuple[JobStatus, ...]] = (
    JobStatus.PROCESSING,
    JobStatus.PENDING,
    JobStatus.FAILED,
    JobStatus.QUARANTINED,
    JobStatus.CANCELLED,
    JobStatus.DONE,
)


MAX_VARIANTS: Final = 1000
"""How many choices of models a host judges. The statement that leases a job names all that are ready."""


class JobOrder(StrEnum):
    """The order of a list of jobs."""

    QUEUE = "queue"
    NEWEST = "newest"
    OLDEST = "oldest"


def read_jobs(
    connection: sa.Connection, status: JobStatus | None, *, limit: int, after: int | None, text: str, order: JobOrder
) -> tuple[Job, ...]:
    """Return one page of jobs.

    Args:
        connection: The connection.
        status: Only jobs with this status; None: all.
        limit: Length of the page.
        after: The id of the last job of the page before; None: the first page.
        text: Only jobs whose name or workflow contains it.
        order: In that of the queue, running jobs come first, then pending ones by priority and age, then the others,
            newest first.
    """
    if status is not None or order is not JobOrder.QUEUE:
        return _read_page(connection, status, limit=limit, after=after, text=text, order=order)
    statuses = _QUEUE_STATUSES
    if after is not None:
        last = connection.execute(sa.select(jobs.c.status).where(jobs.c.id == after)).scalar_one_or_none()
        statuses = statuses[statuses.index(JobStatus(last)) :] if last else ()
    page: tuple[Job, ...] = ()
    for index, one_status in enumerate(statuses):
        behind = after if index == 0 else None
        page += _read_page(
            connection, one_status, limit=limit - len(page), after=behind, text=text, order=JobOrder.QUEUE
        )
        if len(page) == limit:
            break
    return page


def _read_page(
    connection: sa.Connection, status: JobStatus | None, *, limit: int, after: int | None, text: str, order: JobOrder
) -> tuple[Job, ...]:
    query = sa.select(*JOB_COLUMNS).select_from(JOBS_WITH_WORKERS).limit(limit)
    if status is not None:
        query = query.where(is_status(status))
        # A job that has ended has no place in the queue, and there may be a million of them to sort.
        if status.is_terminal and order is JobOrder.QUEUE:
            order = JobOrder.NEWEST
    if text:
        query = query.where(
            sa.or_(
                jobs.c.config_name.contains(text, autoescape=True), jobs.c.workflow_id.contains(text, autoescape=True)
            )
        )
    query = _apply_order(query, order, after)
    return tuple(read_job(row) for row in connection.execute(query).mappings())


def _apply_order(query: sa.Select[Any], order: JobOrder, after: int | None) -> sa.Select[Any]:
    if order is JobOrder.NEWEST:
        query = query.order_by(jobs.c.id.desc())
        return query if after is None else query.where(jobs.c.id < after)
    if order is JobOrder.OLDEST:
        query = query.order_by(jobs.c.id)
        return query if after is None else query.where(jobs.c.id > after)
    query = query.order_by(jobs.c.priority, jobs.c.id)
    if after is None:
        return query
    last = jobs.alias("last")
    priority = sa.select(last.c.priority).where(last.c.id == after).scalar_subquery()
    is_behind = sa.and_(jobs.c.priority == priority, jobs.c.id > after)
    return query.where(sa.or_(jobs.c.priority > priority, is_behind))


def read_job_named(connection: sa.Connection, name: str) -> Job | None:
    """Return a job by the name of its file."""
    return _read_one(connection, jobs.c.config_name == name)


def read_job_with_id(connection: sa.Connection, job_id: int) -> Job | None:
    """Return a job by its id."""
    return _read_one(connection, jobs.c.id == job_id)


def count_before(connection: sa.Connection, job: Job) -> int:
    """Return how many pending jobs come before a pending job."""
    same_priority = sa.and_(jobs.c.priority == job.priority, jobs.c.id < job.id)
    is_before = sa.or_(jobs.c.priority < job.priority, same_priority)
    query = sa.select(sa.func.count()).select_from(jobs).where(is_status(JobStatus.PENDING), is_before)
    return int(connection.execute(query).scalar_one())


def _read_one(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> Job | None:
    query = sa.select(*JOB_COLUMNS).select_from(JOBS_WITH_WORKERS).where(condition)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else read_job(row)


def read_attempts(connection: sa.Connection, name: str) -> tuple[AttemptRecord, ...]:
    """Return the runs of a job, the first one first."""
    query = (
        sa.select(attempts)
        .join(jobs, jobs.c.id == attempts.c.job_id)
        .where(jobs.c.config_name == name)
        .order_by(attempts.c.attempt)
    )
    return tuple(read_attempt(row) for row in connection.execute(query).mappings())


def read_audit_log(connection: sa.Connection, name: str | None, *, limit: int) -> tuple[AuditRecord, ...]:
    """Return changes by people, the latest one first; of one job, or of all and the queue."""
    query = sa.select(audit).order_by(audit.c.id.desc()).limit(limit)
    if name is not None:
        query = query.where(audit.c.config_name == name)
    return tuple(read_audit(row) for row in connection.execute(query).mappings())


def read_pause(connection: sa.Connection) -> bool:
    """Return whether a person paused the queue."""
    return bool(connection.execute(sa.select(queue_state.c.is_paused)).scalar_one())


def read_schema_version(connection: sa.Connection) -> int:
    """Return the version of the tables."""
    return int(connection.execute(sa.select(queue_state.c.schema_version)).scalar_one())


def read_stats(connection: sa.Connection) -> QueueStats:
    """Return the figures of the queue."""
    # One count per status reads the small index of each; one count over all would read every row.
    counts = {}
    for status in JobStatus:
        count = sa.select(sa.func.count()).select_from(jobs).where(is_status(status))
        counts[status.value] = connection.execute(count).scalar_one()
    latest = (
        sa.select(jobs.c.duration)
        .where(is_status(JobStatus.DONE))
        .order_by(jobs.c.end_time.desc())
        .limit(_DURATIONS_AVERAGED)
        .subquery()
    )
    average = connection.execute(sa.select(sa.func.avg(latest.c.duration))).scalar_one()
    # The index of pending jobs holds the ids, but not the times of creation. Plain min(id) would walk the primary key,
    # past every job that has ended.
    first = sa.select(sa.func.min(jobs.c.id + 0)).where(is_status(JobStatus.PENDING)).scalar_subquery()
    oldest = sa.select(DatabaseNow() - jobs.c.created_at).where(jobs.c.id == first)
    return QueueStats(
        total_jobs=sum(counts.values()),
        by_status=counts,
        average_duration_seconds=average,
        oldest_pending_seconds=connection.execute(oldest).scalar_one_or_none(),
        is_paused=read_pause(connection),
    )


def read_variants(connection: sa.Connection) -> tuple[JobSpec, ...]:
    """Return the description of one waiting job for each readiness key that is not a workflow."""
    # One look into the index for each key: a million jobs of ten keys cost ten of them.
    smallest = sa.select(sa.func.min(jobs.c.readiness_key).label("key")).where(is_status(JobStatus.PENDING))
    keys = smallest.cte("keys", recursive=True)
    following = (
        sa.select(sa.func.min(jobs.c.readiness_key))
        .where(is_status(JobStatus.PENDING), jobs.c.readiness_key > keys.c.key)
        .scalar_subquery()
    )
    keys = keys.union_all(sa.select(following).where(keys.c.key.is_not(None)))
    example = (
        sa.select(jobs.c.spec)
        .where(is_status(JobStatus.PENDING), jobs.c.readiness_key == keys.c.key)
        .order_by(jobs.c.id)
        .limit(1)
        .scalar_subquery()
    )
    rows = connection.execute(sa.select(example).where(keys.c.key.is_not(None))).scalars()
    specs = (decode_spec(text) for text in rows if text is not None)
    return tuple(islice((spec for spec in specs if spec.readiness_key not in {"", spec.workflow_id}), MAX_VARIANTS))
