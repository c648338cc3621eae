"""The log of the job agent: one structured line for each event of a job."""

from __future__ import annotations

import logging
from typing import Any, Final

from comfywatchman.base.logs import NAME
from comfywatchman.jobs.records import Job

_AREA: Final = f"{NAME}.jobs"


def get_logger(name: str) -> logging.Logger:
    """Return the logger of a part of the job agent.

    It has no handler of its own: its lines go to the structured log of the program, once, however often it is called.

    Args:
        name: The part, such as `worker`.
    """
    return logging.getLogger(f"{_AREA}.{name}" if name else _AREA)


def log_job(event: str, job: Job, *, level: int = logging.INFO, **facts: Any) -> None:
    """Write the line of an event of a job, with the facts that find it again.

    Args:
        event: A fixed phrase.
        job: The job.
        level: The level of the line.
        facts: Further fields.
    """
    fields = {
        "event": event,
        "job": job.config_name,
        "job_id": job.id,
        "job_type": job.job_type,
        "workflow_id": job.workflow_id,
        "priority": job.priority,
        "attempt": job.attempt,
        "worker_id": job.worker_id,
    }
    get_logger("events").log(level, event, extra={**fields, **facts})
