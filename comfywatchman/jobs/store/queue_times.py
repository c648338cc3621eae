"""When jobs came into the queue and left it, from which the length of the queue over time follows."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from comfywatchman.jobs.records import JobStatus
from comfywatchman.jobs.store.tables import is_status, jobs

MAX_TIMES: Final = 2000
_ENDED: Final = (JobStatus.DONE, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.QUARANTINED)


@dataclass(frozen=True, slots=True)
class QueueTimes:
    """Times at which jobs came and ended, Unix seconds, in any order.

    Attributes:
        since: From when on they are complete.
        created: When jobs came.
        ended: When jobs ended.
    """

    since: float
    created: tuple[float, ...]
    ended: tuple[float, ...]


def read_queue_times(connection: sa.Connection, since: float) -> QueueTimes:
    """Return when jobs came and ended since a time; where there are very many, since a later one."""
    # From the end of the primary key: there is no index over the times of creation, which grow with the id.
    newest = sa.select(jobs.c.created_at).order_by(jobs.c.id.desc()).limit(MAX_TIMES)
    created = list(connection.execute(newest).scalars())
    if len(created) == MAX_TIMES:
        since = max(since, created[-1])
    ended: list[float] = []
    for status in _ENDED:
        latest = (
            sa.select(jobs.c.end_time)
            .where(is_status(status), jobs.c.end_time > since)
            .order_by(jobs.c.end_time.desc())
            .limit(MAX_TIMES)
        )
        times = list(connection.execute(latest).scalars())
        if len(times) == MAX_TIMES:
            since = max(since, times[-1])
        ended += times
    return QueueTimes(
        since, tuple(time for time in created if time > since), tuple(time for time in ended if time > since)
    )


def count_open_jobs(times: QueueTimes, *, open_now: int, now: float, points: int) -> tuple[tuple[float, int], ...]:
    """Return how many jobs waited or ran, at equally distant times up to now. Pure.

    A job that was queued again counts from its beginning on.

    Args:
        times: When jobs came and ended.
        open_now: How many wait or run now.
        now: The present time, Unix seconds.
        points: How many times, at least two.
    """
    step = (now - times.since) / (points - 1)
    created, ended = sorted(times.created), sorted(times.ended)
    lengths = []
    for index in range(points):
        at = times.since + step * index
        came = len(created) - bisect_right(created, at)
        left = len(ended) - bisect_right(ended, at)
        lengths.append((at, max(0, open_now - came + left)))
    return tuple(lengths)
