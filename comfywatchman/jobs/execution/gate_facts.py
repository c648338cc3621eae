"""One reading of what decides whether the next job may start; earlier prompts of our own jobs are cleared away."""

from __future__ import annotations

import shutil
import time
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.server.probes import SystemStats, read_queue_length, read_system_stats
from comfywatchman.comfyui.server.prompt_client import PromptClient
from comfywatchman.comfyui.server.prompt_queue import read_queue
from comfywatchman.jobs.execution.gate import GateFacts, GateLimits
from comfywatchman.jobs.execution.logger import get_logger
from comfywatchman.jobs.execution.prompt_tags import PromptOwner, PromptTag, QueueShares, split_queue
from comfywatchman.jobs.execution.services import WorkerServices, WorkerStore
from comfywatchman.jobs.files.output_path import find_output_obstacle
from comfywatchman.jobs.records import JobStatus
from comfywatchman.jobs.settings import JobSettings

_DISK_SECONDS: Final = 10.0
"""Probing the output folder creates a file; an idle agent does not do that every second."""

_CANCEL_SECONDS: Final = 10.0
_PAUSE_SECONDS: Final = 0.05


class GateReader:
    """Reads the host, ComfyUI and the queue.

    Args:
        cfg: The limits and places of the job agent.
        store: The database.
        client: The client of ComfyUI.
        services: What the rest of the program provides.

    Attributes:
        limits: What the host must have.
    """

    def __init__(self, cfg: JobSettings, store: WorkerStore, client: PromptClient, services: WorkerServices) -> None:
        self.limits = GateLimits(min_free_disk_gb=cfg.min_free_disk_gb, min_free_vram_gb=cfg.min_free_vram_gb)
        self._cfg = cfg
        self._store = store
        self._client = client
        self._services = services
        self._disk_at = 0.0
        self._output_problem: str | None = None
        self._free_disk_bytes: int | None = None

    def read(self) -> GateFacts:
        """Take a reading.

        Raises:
            Failure: The database cannot be used.
        """
        is_paused = self._store.is_paused()
        host_reason = None if is_paused else self._services.reason_to_wait()
        if is_paused or host_reason is not None:
            return GateFacts(is_paused=is_paused, host_reason=host_reason)
        self._probe_disk()
        problem, others, vram, is_vram_unknown = None, 0, None, False
        try:
            if read_queue_length(self._client.url, session=self._client.session):
                others = self._clear_queue()
            if self.limits.min_free_vram_gb > 0:
                stats = read_system_stats(self._client.url, session=self._client.session)
                vram = find_available_vram(stats)
                is_vram_unknown = stats.has_gpu and vram is None
        except Failure as failure:
            if failure.code.startswith("jobs-database-"):
                raise
            problem = failure.message
        return GateFacts(
            comfyui_url=self._client.url,
            comfyui_problem=problem,
            can_supervise=problem is not None and self._services.can_supervise(),
            other_prompts=others,
            vram_available_bytes=vram,
            is_vram_unknown=is_vram_unknown,
            free_disk_bytes=self._free_disk_bytes,
            output_problem=self._output_problem,
        )

    def _probe_disk(self) -> None:
        if time.monotonic() < self._disk_at:
            return
        self._output_problem = find_output_obstacle(self._cfg.finished, "", min_free_gb=0)
        try:
            self._free_disk_bytes = shutil.disk_usage(self._cfg.finished).free
        except OSError:
            self._free_disk_bytes = None
        if self._output_problem is None:
            self._disk_at = time.monotonic() + _DISK_SECONDS

    def _clear_queue(self) -> int:
        """Cancel prompts of lost runs of our jobs; return how many prompts are left to wait for."""
        shares = split_queue(read_queue(self._client.session, self._client.url), self._find_owner)
        for prompt in shares.orphans:
            outcome = self._client.cancel(
                prompt.prompt_id, limit_seconds=_CANCEL_SECONDS, pause=lambda: time.sleep(_PAUSE_SECONDS)
            )
            facts = {"prompt_id": prompt.prompt_id, "outcome": outcome.value}
            get_logger("worker").info("prompt of a lost run cancelled", extra=facts)
        return len(self._count_left(shares))

    def _count_left(self, shares: QueueShares) -> tuple[object, ...]:
        if not shares.orphans:
            return shares.others
        # One that does not react still uses the GPU.
        left = split_queue(read_queue(self._client.session, self._client.url), self._find_owner)
        return (*left.others, *left.orphans)

    def _find_owner(self, tag: PromptTag) -> PromptOwner:
        """Return what the database knows of a prompt; one that it does not know belongs to another agent."""
        try:
            job = self._store.get(tag.config_name)
        except Failure as failure:
            if failure.code != "jobs-job-unknown":
                raise
            return PromptOwner.OTHER
        if job.id != tag.job_id:
            return PromptOwner.OTHER
        is_current = job.attempt == tag.attempt and job.worker_id == tag.worker_id
        if job.status is JobStatus.PROCESSING and is_current:
            return PromptOwner.HELD
        runs = self._store.attempts(tag.config_name)
        is_ours = any(run.attempt == tag.attempt and run.worker_id == tag.worker_id for run in runs)
        return PromptOwner.ORPHAN if is_ours else PromptOwner.OTHER


def find_available_vram(stats: SystemStats) -> int | None:
    """Return the GPU memory that ComfyUI can use, in bytes; None on a machine without a GPU.

    Its own models count as available, because it unloads them for others.
    """
    if not stats.has_gpu:
        return None
    device = stats.devices[0]
    if device.memory_free_bytes is None:
        return None
    held = (device.reserved_bytes or 0) - (device.reserved_free_bytes or 0)
    return device.memory_free_bytes + max(0, held)
