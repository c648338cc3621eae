"""The queue as functions that return plain values, behind the routes of the JSON API.

Each takes the open queue first. Names of jobs may be given with or without `.yaml`.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from comfywatchman.app.job_facts import describe_attempt, describe_job, format_moment, warn_long_queue
from comfywatchman.jobs.files.names import complete_config_name
from comfywatchman.jobs.records import Actor, JobStatus
from comfywatchman.jobs.store.job_store import JobStore

MAX_LISTED: Final = 1000


def list_queue(store: JobStore, status: str | None = None, *, limit: int = 100, text: str = "") -> list[dict[str, Any]]:
    """Return jobs in the order in which they run.

    Args:
        store: The queue.
        status: Only jobs with this status; None: all.
        limit: How many, at most `MAX_LISTED`.
        text: Only jobs whose name or workflow contains it.

    Raises:
        ValueError: There is no such status.
    """
    wanted = None if status is None else JobStatus(status)
    return [describe_job(job) for job in store.list_jobs(wanted, limit=min(limit, MAX_LISTED), text=text)]


def job_details(store: JobStore, config_name: str) -> dict[str, Any]:
    """Return a job with its description, runs, changes, and why it waits.

    Raises:
        Failure: `jobs-job-unknown`.
    """
    name = complete_config_name(config_name)
    job = store.get(name)
    reason = store.explain_job(name)
    return {
        **describe_job(job),
        "spec": msgspec.to_builtins(job.spec),
        "attempts": [describe_attempt(attempt) for attempt in store.attempts(name)],
        "audit": [{**msgspec.to_builtins(change), "at": format_moment(change.at)} for change in store.audit(name)],
        "waits_for": None if reason is None else msgspec.to_builtins(reason),
    }


def set_priority(store: JobStore, config_name: str, priority: int, *, actor: Actor) -> dict[str, Any]:
    """Set the priority of a job, and return the job.

    Raises:
        Failure: `jobs-priority-range` or `jobs-job-unknown`.
    """
    name = complete_config_name(config_name)
    store.set_priority(name, priority, actor=actor)
    return describe_job(store.get(name))


def retry_job(store: JobStore, config_name: str, *, actor: Actor) -> dict[str, Any]:
    """Queue a failed job again, and return it; one that waits already stays as it is.

    Raises:
        Failure: `jobs-job-unknown`, or `jobs-job-status` for a job that did not fail.
    """
    name = complete_config_name(config_name)
    store.retry(name, actor=actor)
    return describe_job(store.get(name))


def god_mode(store: JobStore, config_name: str, *, actor: Actor) -> dict[str, Any]:
    """Put a job first, and return it.

    Raises:
        Failure: `jobs-job-unknown`.
    """
    name = complete_config_name(config_name)
    store.god_mode(name, actor=actor)
    return describe_job(store.get(name))


def count_queue(store: JobStore, *, pending_warning: int) -> dict[str, Any]:
    """Return the figures of the queue, with the warning about a long one."""
    figures = store.stats()
    warning = warn_long_queue(figures.by_status["pending"], pending_warning)
    facts: dict[str, Any] = msgspec.to_builtins(figures)
    return {**facts, "is_long": bool(warning), "pending_warning": pending_warning}
