"""Job files of finished jobs: moved to the finished tree after the database has recorded the end."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.jobs.execution.logger import log_job
from comfywatchman.jobs.execution.services import WorkerStore
from comfywatchman.jobs.files.folders import safe_move
from comfywatchman.jobs.records import Job, JobStatus
from comfywatchman.jobs.settings import JobSettings
from comfywatchman.jobs.store.queries import JobOrder

_SETTLED_JOBS: Final = 1000
"""How many of the last finished jobs are looked at: a killed worker leaves the file of one."""


def move_job_file(job: Job, cfg: JobSettings) -> bool:
    """Move the file of a finished job to the finished tree; return whether it was there.

    A file that cannot be moved stays: its job has ended all the same, and is never run again.

    Args:
        job: The job, whose end is recorded.
        cfg: The limits and places of the job agent.
    """
    source = Path(job.spec.source_path)
    # A job of another host, or one that was added without a file.
    if not job.spec.source_path or not source.is_relative_to(cfg.processing) or not source.is_file():
        return False
    target = cfg.finished / job.spec.media / job.config_name
    try:
        safe_move(source, target)
    except FileNotFoundError:
        return False
    except Failure as failure:
        log_job("job file not moved", job, level=logging.WARNING, code=failure.code, error=failure.message)
        return False
    log_job("job file moved", job, path=str(target))
    return True


def settle_finished(store: WorkerStore, cfg: JobSettings) -> int:
    """Move the files of finished jobs that were left in the processing tree; return how many.

    Raises:
        Failure: The database cannot be used.
    """
    jobs = store.list_jobs(JobStatus.DONE, limit=_SETTLED_JOBS, order=JobOrder.NEWEST)
    return sum(move_job_file(job, cfg) for job in jobs)
