"""Taking jobs back from workers that no longer send heartbeats. Every agent does it: none of them is special."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from comfywatchman.jobs.records import JobStatus
from comfywatchman.jobs.store.lease_statements import COUNTER_COLUMNS
from comfywatchman.jobs.store.leasing import read_counters, touch_worker
from comfywatchman.jobs.store.tables import DatabaseNow, attempts, is_status, jobs, status_literal, workers
from comfywatchman.jobs.store.transitions import INTERRUPTED_CODE, decide_recovery

_CLOCK_STEP_SECONDS: Final = 5.0
"""A heartbeat further in the future than this was written before the clock of the database was set back."""

_LOST_TEXT: Final = "The worker sent no heartbeat in time."


def build_recovery(worker_id: str | None, now: datetime | None) -> Callable[[sa.Connection], int]:
    """Return the transaction that queues the jobs of lost leases again; it returns their number.

    Args:
        worker_id: The worker that recovers. Its heartbeat is written first: after the machine was suspended, all
            leases look lost, and it must not take its own job away from itself.
        now: The time to compare with; None: the clock of the database.
    """

    def recover(connection: sa.Connection) -> int:
        if worker_id is not None:
            touch_worker(connection, worker_id)
        moment: Any = DatabaseNow() if now is None else sa.literal(now.timestamp(), sa.Double)
        _undo_clock_steps(connection, moment)
        lost = connection.execute(_select_lost(moment)).mappings().all()
        for row in lost:
            _take_back(connection, row)
        return len(lost)

    return recover


def _undo_clock_steps(connection: sa.Connection, moment: Any) -> None:
    """Shorten leases that would outlive their worker by hours because the clock went back."""
    connection.execute(
        workers.update().where(workers.c.last_beat > moment + _CLOCK_STEP_SECONDS).values(last_beat=moment)
    )
    connection.execute(
        jobs.update()
        .where(
            is_status(JobStatus.PROCESSING),
            jobs.c.lease_expires_at > moment + jobs.c.lease_seconds + _CLOCK_STEP_SECONDS,
        )
        .values(lease_expires_at=moment + jobs.c.lease_seconds)
    )


def _select_lost(moment: Any) -> sa.Select[Any]:
    alive = sa.exists().where(
        workers.c.worker_id == jobs.c.worker_id, workers.c.last_beat + jobs.c.lease_seconds >= moment
    )
    return (
        sa.select(jobs.c.id, jobs.c.attempt, jobs.c.cancel_requested, *COUNTER_COLUMNS)
        .where(is_status(JobStatus.PROCESSING), jobs.c.lease_expires_at < moment, ~alive)
        .order_by(jobs.c.id)
        .with_for_update(skip_locked=True, of=jobs)
    )


def _take_back(connection: sa.Connection, row: Any) -> None:
    state = decide_recovery(read_counters(row), is_cancel_requested=row["cancel_requested"])
    now = DatabaseNow()
    is_open = state.status is JobStatus.PENDING
    connection.execute(
        jobs.update()
        .where(jobs.c.id == row["id"])
        .values(
            status=status_literal(state.status),
            interruptions=state.interruptions,
            end_time=None if is_open else now,
            error_code=state.error_code,
            error_trace=None if is_open else _LOST_TEXT,
            lease_expires_at=None,
            cancel_requested=sa.false(),
            updated_at=now,
        )
    )
    connection.execute(
        attempts.update()
        .where(attempts.c.job_id == row["id"], attempts.c.attempt == row["attempt"])
        .values(ended_at=now, outcome=state.outcome, error_code=INTERRUPTED_CODE, error_text=_LOST_TEXT)
    )
