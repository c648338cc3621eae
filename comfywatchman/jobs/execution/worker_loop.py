"""Run jobs with a worker: one job, the next one, or all until stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from comfywatchman.base.errors import Failure
from comfywatchman.jobs.execution.logger import get_logger
from comfywatchman.jobs.execution.services import WorkerStore
from comfywatchman.jobs.execution.worker import FinishedRun, JobWorker
from comfywatchman.jobs.files.monitor import StopSignal
from comfywatchman.jobs.files.workflows import JobWorkflow
from comfywatchman.jobs.records import Completion, Lease, WaitCode, WaitReason
from comfywatchman.jobs.settings import JobSettings


def execute_job(
    job: Lease, cfg: JobSettings, workflows: Mapping[str, JobWorkflow], db: WorkerStore, *, host: str = "localhost"
) -> Completion | None:
    """Run one leased job to its end, with a worker of its own.

    Args:
        job: The lease of the job.
        cfg: The limits and places of the job agent.
        workflows: As `load_workflows` returns them.
        db: The database.
        host: The name of this host.

    Raises:
        Failure: The database cannot be used.
    """
    with JobWorker(cfg, lambda: workflows, db, job.worker_id, host=host) as worker:
        return worker.execute(job)


def run_once(
    cfg: JobSettings,
    workflows: Mapping[str, JobWorkflow],
    db: WorkerStore,
    worker_id: str,
    *,
    host: str = "localhost",
) -> bool:
    """Run the next job, if one may start; return whether a job was run.

    Args:
        cfg: The limits and places of the job agent.
        workflows: As `load_workflows` returns them.
        db: The database.
        worker_id: The id that the database gave the worker.
        host: The name of this host.

    Raises:
        Failure: The database cannot be used.
    """
    with JobWorker(cfg, lambda: workflows, db, worker_id, host=host) as worker:
        return worker.run_once()


def run_loop(
    cfg: JobSettings,
    workflows: Mapping[str, JobWorkflow],
    db: WorkerStore,
    worker_id: str,
    stop_event: StopSignal,
    *,
    host: str = "localhost",
) -> None:
    """Run jobs until the stop event is set; wait `poll_interval_ms` when there is none.

    Args:
        cfg: The limits and places of the job agent.
        workflows: As `load_workflows` returns them.
        db: The database.
        worker_id: The id that the database gave the worker.
        stop_event: Ends the loop, and the running job.
        host: The name of this host.
    """
    with JobWorker(cfg, lambda: workflows, db, worker_id, host=host, stop_event=stop_event) as worker:
        run_worker(worker, cfg, stop_event)


def run_worker(
    worker: JobWorker,
    cfg: JobSettings,
    stop_event: StopSignal,
    *,
    report: Callable[[FinishedRun], object] = lambda _finished: None,
    report_wait: Callable[[WaitReason], object] = lambda _reason: None,
) -> None:
    """Let a worker run jobs until the stop event is set.

    Args:
        worker: The worker.
        cfg: The limits and places of the job agent.
        stop_event: Ends the loop.
        report: Called with each run whose end was recorded.
        report_wait: Called when jobs begin to wait, and when they wait for something else.
    """
    log = get_logger("worker")
    reported_code: WaitCode | None = None
    while not stop_event.is_set():
        try:
            has_run = worker.run_once()
        except Failure as failure:
            # The database of a fleet may be away for hours; the worker goes on when it is back.
            log.warning("worker pass failed", extra={"code": failure.code, "error": failure.message})
            has_run = False
        reason = worker.wait_reason
        if reason is not None and reason.code is not reported_code:
            report_wait(reason)
        reported_code = None if reason is None else reason.code
        if not has_run:
            stop_event.wait(cfg.poll_interval_seconds)
        elif worker.last_run is not None:
            report(worker.last_run)
