"""The live view of the terminal: the facts of the home page, with the jobs and tasks that run."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from comfywatchman.app.pages.attention import NeededAction, list_needed_actions
from comfywatchman.app.pages.page_host import PageHost
from comfywatchman.app.pages.queue import RunningJob, describe_running
from comfywatchman.app.pages.status_sentence import StatusSentence, build_status_sentence
from comfywatchman.app.tasks.records import TaskSnapshot
from comfywatchman.app.tasks.start import list_tasks
from comfywatchman.base.errors import Failure
from comfywatchman.jobs.records import JobStatus, WaitingJob
from comfywatchman.jobs.store.waiting import Fleet, explain_jobs

MAX_JOBS: Final = 20


@dataclass(frozen=True, slots=True)
class LiveStatus:
    """What the live view shows.

    Attributes:
        sentence: What heads every page.
        needed: What needs a person, the most urgent first.
        running: The jobs that run.
        waiting: The first waiting jobs, with the reason why each waits.
        tasks: The background tasks that run.
    """

    sentence: StatusSentence
    needed: tuple[NeededAction, ...]
    running: tuple[RunningJob, ...]
    waiting: tuple[WaitingJob, ...]
    tasks: tuple[TaskSnapshot, ...]


def read_live_status(host: PageHost, now: datetime) -> LiveStatus:
    """Read what the live view shows. A part that cannot be read is left out, and the sentence says so.

    Args:
        host: The host.
        now: The present time.
    """
    request_host = host.for_request()
    needed = list_needed_actions(request_host, now)
    sentence = build_status_sentence(request_host, now, needs_you=len(needed))
    running: tuple[RunningJob, ...] = ()
    waiting: tuple[WaitingJob, ...] = ()
    # The sentence has the reason.
    with contextlib.suppress(Failure):
        running, waiting = _read_jobs(request_host, now)
    return LiveStatus(sentence, needed, running, waiting, list_running_tasks(host))


def list_running_tasks(host: PageHost) -> tuple[TaskSnapshot, ...]:
    """Return the background tasks that run, the newest first."""
    return tuple(task for task in list_tasks(host.session) if task.is_running)


def _read_jobs(host: PageHost, now: datetime) -> tuple[tuple[RunningJob, ...], tuple[WaitingJob, ...]]:
    hosts = host.store.list_hosts()
    workers = {worker.job_id: worker for record in hosts for worker in record.workers if worker.job_id is not None}
    jobs = host.store.list_jobs(JobStatus.PROCESSING, limit=MAX_JOBS)
    running = tuple(describe_running(job, workers.get(job.id), now) for job in jobs)
    pending = host.store.list_jobs(JobStatus.PENDING, limit=MAX_JOBS)
    return running, explain_jobs(pending, Fleet(is_paused=host.read_stats().is_paused, hosts=hosts))
