"""Deleting what the history need not keep: old jobs that are done, old audit entries, workers long silent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import sqlalchemy as sa

from comfywatchman.jobs.records import JobStatus
from comfywatchman.jobs.store.tables import DatabaseNow, audit, is_status, jobs, workers

_DAY: Final = 86400.0
_BATCH: Final = 1000
"""Rows per transaction: a long one would hold up the leases of others."""


def build_prune(history_days: float) -> Callable[[sa.Connection], int]:
    """Return the transaction that deletes one batch of old jobs; it returns how many, 0 at the end.

    Only jobs that are done: the files of all others are still in processing/, and would become new jobs.
    """

    def prune(connection: sa.Connection) -> int:
        oldest = DatabaseNow() - history_days * _DAY
        old = sa.select(jobs.c.id).where(is_status(JobStatus.DONE), jobs.c.end_time < oldest).limit(_BATCH)
        deleted = connection.execute(jobs.delete().where(jobs.c.id.in_(old.scalar_subquery()))).rowcount
        connection.execute(audit.delete().where(audit.c.at < oldest))
        return deleted

    return prune


def prune_workers(connection: sa.Connection) -> None:
    """Delete workers that were silent for a day, unless they still hold a job."""
    holds_job = sa.exists().where(jobs.c.worker_id == workers.c.worker_id, is_status(JobStatus.PROCESSING))
    connection.execute(workers.delete().where(workers.c.last_beat < DatabaseNow() - _DAY, ~holds_job))
