"""Retention of the job agent: old jobs leave the database, and old outputs the finished tree, as configured."""

from __future__ import annotations

import logging
from typing import Final, Protocol

from comfywatchman.base.clock import Clock
from comfywatchman.base.errors import Failure
from comfywatchman.jobs.files.monitor import StopSignal
from comfywatchman.jobs.files.retention import delete_old_outputs
from comfywatchman.jobs.settings import JobSettings

_LOG: Final = logging.getLogger("comfywatchman.jobs")
_PAUSE_SECONDS: Final = 3600.0


class PrunedStore(Protocol):
    """The part of the jobs database that retention uses."""

    def prune(self, history_days: float) -> int:
        """Delete jobs that were done longer ago; return how many."""


def run_housekeeping(cfg: JobSettings, store: PrunedStore, stop_event: StopSignal, clock: Clock) -> None:
    """Apply the retention now and every hour, until the event is set.

    Args:
        cfg: The limits and places of the job agent.
        store: The database. While it cannot be used, its history grows.
        stop_event: The event.
        clock: The clock.
    """
    while not stop_event.is_set():
        apply_retention(cfg, store, clock)
        stop_event.wait(_PAUSE_SECONDS)


def apply_retention(cfg: JobSettings, store: PrunedStore, clock: Clock) -> None:
    """Delete what is older than `[jobs] keep_history_days` and `keep_outputs_days` allow."""
    jobs = 0
    if cfg.keep_history_days:
        try:
            jobs = store.prune(cfg.keep_history_days)
        except Failure as failure:
            _LOG.warning("old jobs not deleted", extra={"code": failure.code, "error": failure.message})
    outputs = delete_old_outputs(
        cfg.finished,
        keep_days=cfg.keep_outputs_days,
        now=clock.now().timestamp(),
        job_types=tuple(cfg.media_of_type),
    )
    if jobs or outputs.folders or outputs.failed:
        facts = {"jobs": jobs, "outputs": outputs.folders, "failed": outputs.failed}
        _LOG.info("retention applied", extra=facts)
