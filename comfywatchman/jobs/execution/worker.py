"""The worker: it leases one job after the other and runs each to its end. One worker per ComfyUI."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from comfywatchman import __version__
from comfywatchman.base.errors import Failure
from comfywatchman.base.failpoints import failpoint
from comfywatchman.comfyui.server.probes import SystemStats, read_system_stats
from comfywatchman.jobs.execution.attempt import JobAttempt
from comfywatchman.jobs.execution.finished_files import move_job_file, settle_finished
from comfywatchman.jobs.execution.gate import find_wait_reason
from comfywatchman.jobs.execution.gate_facts import GateReader
from comfywatchman.jobs.execution.gpu_meter import GpuMeter
from comfywatchman.jobs.execution.heartbeat import WorkerHeartbeat
from comfywatchman.jobs.execution.hooks import JobHooks
from comfywatchman.jobs.execution.logger import get_logger, log_job
from comfywatchman.jobs.execution.outcomes import judge_defect, judge_failure
from comfywatchman.jobs.execution.preview_file import PreviewWriter
from comfywatchman.jobs.execution.prompt_run import PromptRunner
from comfywatchman.jobs.execution.run_states import RunLimits, RunProgress, StopCause
from comfywatchman.jobs.execution.services import WorkerServices, WorkerStore
from comfywatchman.jobs.files.monitor import StopSignal
from comfywatchman.jobs.files.workflows import JobWorkflow
from comfywatchman.jobs.records import AttemptOutcome, Completion, JobStatus, Lease, WaitCode, WaitReason
from comfywatchman.jobs.settings import JobSettings

_BUSY_BEAT_SECONDS: Final = 2.0
_COMPLETE_PAUSE_SECONDS: Final = 0.5
_RECOVERY_SECONDS: Final = 1.0

Workflows = Callable[[], Mapping[str, JobWorkflow]]
"""Returns the workflows that jobs may name, as they are now."""


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run that ended, as the database recorded it.

    Attributes:
        config_name: The job.
        status: Its status now.
        outcome: How the run ended.
    """

    config_name: str
    status: JobStatus
    outcome: AttemptOutcome


class JobWorker:
    """Runs jobs, one at a time.

    Used as a context manager: it keeps its heartbeat and its connections to ComfyUI from job to job.

    Args:
        cfg: The limits and places of the job agent.
        workflows: The workflows that jobs may name.
        store: The database.
        worker_id: The id that the database gave this start of the worker.
        host: The name of this host.
        services: What the rest of the program provides.
        stop_event: Ends the running job early.

    Attributes:
        worker_id: The id of the worker; a new one after it was away for so long that it was forgotten.
        wait_reason: Why no job was started by the last `run_once`; None when there was none to start.
        last_run: The last run whose end was recorded; None before the first.
    """

    def __init__(
        self,
        cfg: JobSettings,
        workflows: Workflows,
        store: WorkerStore,
        worker_id: str,
        *,
        host: str,
        services: WorkerServices | None = None,
        stop_event: StopSignal | None = None,
    ) -> None:
        self.worker_id = worker_id
        self.wait_reason: WaitReason | None = None
        self.last_run: FinishedRun | None = None
        self._cfg = cfg
        self._workflows = workflows
        self._store = store
        self._host = host
        self._services = services or WorkerServices()
        self._stop_event: StopSignal = stop_event or threading.Event()
        self._log = get_logger("worker")
        self._runner = PromptRunner(cfg.comfyui_url, RunLimits(run_seconds=cfg.job_timeout_seconds))
        self._gate = GateReader(cfg, store, self._runner.client, self._services)
        self._hooks = JobHooks(cfg)
        self._previews = PreviewWriter(cfg.previews)
        self._progress: Mapping[str, Any] = {}
        self._lease: Lease | None = None
        self._loaded_key: str | None = None
        self._is_cancel_requested = False
        self._is_lease_lost = False
        self._has_run = False
        self._recover_at = 0.0
        self._heartbeat = WorkerHeartbeat(
            self._beat,
            every_seconds=cfg.heartbeat_seconds,
            busy_seconds=_BUSY_BEAT_SECONDS,
            lease_seconds=cfg.lease_seconds,
            clock=self._services.clock,
        )

    def __enter__(self) -> Self:
        self._runner.__enter__()
        self._heartbeat.__enter__()
        return self

    def __exit__(self, *_error: object) -> None:
        self._heartbeat.__exit__(None, None, None)
        self._runner.__exit__(None, None, None)
        self._hooks.close()

    @property
    def progress(self) -> dict[str, Any]:
        """What the worker does now, as it is published with its heartbeats."""
        lease, progress = self._lease, dict(self._progress)
        if lease is not None:
            progress["job"] = lease.job.config_name
        elif self.wait_reason is not None:
            progress["waits_for"] = self.wait_reason.code.value
            progress["reason"] = self.wait_reason.sentence
        return progress

    def settle(self) -> int:
        """Move the files of finished jobs that a killed worker left in the processing tree; return how many.

        Its previews are deleted.

        Raises:
            Failure: The database cannot be used.
        """
        self._previews.delete_all()
        return settle_finished(self._store, self._cfg)

    def run_once(self) -> bool:
        """Run the next job, if one may start; return whether a job was run.

        Raises:
            Failure: The database cannot be used.
        """
        # A worker that is busy with short jobs looks for lost ones once per second.
        if not self._has_run or time.monotonic() >= self._recover_at:
            self._recover()
            self._recover_at = time.monotonic() + _RECOVERY_SECONDS
        self._has_run = False
        self._set_wait_reason(find_wait_reason(self._gate.read(), self._gate.limits))
        if self.wait_reason is not None:
            return False
        lease = self._lease_next()
        if lease is None:
            return False
        self.execute(lease)
        self._has_run = True
        return True

    def execute(self, lease: Lease) -> Completion | None:
        """Run a leased job to its end: outputs, then the database, then its file.

        Args:
            lease: The lease.

        Returns:
            What the database recorded; None when it could not be reached before the lease ended.

        Raises:
            Failure: The database cannot be used.
        """
        self._lease, self._is_cancel_requested, self._is_lease_lost = lease, False, False
        log_job("job started", lease.job, run_count=lease.job.run_count)
        # A killed worker may have left one of an earlier run.
        self._previews.delete(lease.job.id)
        if not self._heartbeat.beat():
            # Counted from the lease, which is a sign of life too; the watch ends the job if no heartbeat follows.
            self._log.warning("first heartbeat of a job failed", extra={"job": lease.job.config_name})
        self._heartbeat.set_busy(is_busy=True)
        try:
            outcome = self._run_safely(lease)
            failpoint("jobs.before_complete")
            completion = self._complete(lease, outcome)
            failpoint("jobs.after_complete")
        finally:
            self._lease, self._progress = None, {}
            self._previews.delete(lease.job.id)
            self._heartbeat.set_busy(is_busy=False)
        self._finish(lease, outcome, completion)
        return completion

    def _lease_next(self) -> Lease | None:
        try:
            return self._store.lease_next(
                self.worker_id,
                lease_seconds=self._cfg.lease_seconds,
                host=self._host,
                ready_workflows=self._services.ready_workflows(),
                loaded_key=self._loaded_key,
            )
        except Failure as failure:
            if failure.code != "jobs-agent-older":
                raise
            # It drains: the running job has ended, and no other one is taken.
            self._set_wait_reason(WaitReason(WaitCode.AGENT_OLDER, failure.message, failure.hint or ""))
            return None

    def _recover(self) -> None:
        """Queue lost jobs again; a worker that was away for so long that it was forgotten registers again."""
        try:
            recovered = self._store.recover_orphans(worker_id=self.worker_id)
        except Failure as failure:
            if failure.code != "jobs-worker-unknown":
                raise
            self.worker_id = self._store.register_worker(
                self._host, version=__version__, lease_seconds=self._cfg.lease_seconds
            )
            self._log.warning("worker registered again", extra={"worker_id": self.worker_id})
            return
        if recovered:
            self._log.warning("lost jobs queued again", extra={"jobs": recovered})

    def _run_safely(self, lease: Lease) -> AttemptOutcome:
        """Run an attempt; a defect of this program is a failed run of one job, not the end of the agent."""
        try:
            return self._run_attempt(lease)
        except Failure as failure:
            return judge_failure(failure, {})
        except Exception as error:  # noqa: BLE001 - logged with its traceback
            # The edge of the worker's loop: the next job may work.
            self._log.exception("run broke", extra={"job": lease.job.config_name})
            return judge_defect(error)

    def _run_attempt(self, lease: Lease) -> AttemptOutcome:
        stats = self._read_stats()
        meter = GpuMeter(self._cfg.comfyui_url, stats)
        self._runner.limits = RunLimits(run_seconds=lease.job.spec.deadline_seconds or self._cfg.job_timeout_seconds)
        attempt = JobAttempt(
            lease=lease,
            finished=self._cfg.finished,
            workflows=self._workflows(),
            runner=self._runner,
            store=self._store,
            services=self._services,
            watch=lambda progress: self._watch(lease, progress, meter),
            comfyui_version=None if stats is None else stats.version,
            meter=meter,
        )
        outcome = attempt.run()
        # A failed run may have unloaded everything.
        self._loaded_key = (lease.job.spec.affinity_key or lease.job.workflow_id) if outcome.success else None
        return outcome

    def _watch(self, lease: Lease, progress: RunProgress, meter: GpuMeter) -> StopCause | None:
        """Pass the progress on to the heartbeat and the preview to its file, and return why the job must stop."""
        self._previews.write(lease.job.id, progress.preview)
        self._progress = {
            "running": progress.is_running,
            "node": progress.node_id,
            "value": progress.value,
            "maximum": progress.maximum,
            "prompts_ahead": progress.prompts_ahead,
        }
        meter.sample()
        if self._is_lease_lost or not self._heartbeat.is_trusted:
            return StopCause.LEASE_LOST
        if self._is_cancel_requested:
            return StopCause.CANCELLED
        return StopCause.SHUTDOWN if self._stop_event.is_set() else None

    def _beat(self) -> None:
        """Write a heartbeat with the progress, and look at what others did to the job; in the heartbeat's thread."""
        lease = self._lease
        is_known = self._store.beat(self.worker_id, progress=self.progress)
        if lease is None:
            return
        if not is_known:
            self._is_lease_lost = True
            return
        is_cancel_requested = self._store.is_cancel_requested(lease)
        is_lost = not self._store.is_lease_held(lease)
        if self._lease is lease:
            self._is_cancel_requested, self._is_lease_lost = is_cancel_requested, is_lost

    def _complete(self, lease: Lease, outcome: AttemptOutcome) -> Completion | None:
        """Record the outcome; try again while the database is away, until the lease would be lost in any case."""
        deadline = time.monotonic() + lease.lease_seconds
        while True:
            try:
                return self._store.complete(lease, outcome)
            except Failure as failure:
                self._log.warning("completion failed", extra={"job": lease.job.config_name, "code": failure.code})
                if time.monotonic() > deadline or self._stop_event.wait(_COMPLETE_PAUSE_SECONDS):
                    return None

    def _finish(self, lease: Lease, outcome: AttemptOutcome, completion: Completion | None) -> None:
        if completion is None or not completion.accepted:
            log_job("result refused", lease.job, level=logging.WARNING, error_code=outcome.error_code)
            return
        job = lease.job
        self.last_run = FinishedRun(job.config_name, completion.status, outcome)
        log_job(
            "job ended",
            job,
            level=logging.INFO if outcome.success else logging.WARNING,
            status=completion.status.value,
            error_code=outcome.error_code,
            error=outcome.error_text,
            run_seconds=outcome.metadata.get("run_seconds"),
        )
        if completion.status is JobStatus.DONE:
            failpoint("jobs.before_yaml_move")
            move_job_file(job, self._cfg)
            failpoint("jobs.after_yaml_move")
        if completion.status.is_terminal:
            self._hooks.call(job, completion.status, outcome)

    def _read_stats(self) -> SystemStats | None:
        try:
            return read_system_stats(self._cfg.comfyui_url, session=self._runner.client.session)
        except Failure:
            return None

    def _set_wait_reason(self, reason: WaitReason | None) -> None:
        before, self.wait_reason = self.wait_reason, reason
        if reason is not None and (before is None or before.code is not reason.code):
            self._log.info("jobs wait", extra={"code": reason.code.value, "reason": reason.sentence})
