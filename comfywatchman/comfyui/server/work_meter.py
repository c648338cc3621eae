"""Measures whether a ComfyUI works: counters that stand still while it does nothing and move while it works."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.gpu.query import GpuReading, read_gpus
from comfywatchman.comfyui.server.listening import find_session_pids
from comfywatchman.comfyui.server.probes import read_queue_length

_MIN_CPU_SHARE: Final = 0.02
"""The share of one core above which a server works; an idle one that is probed uses less (docs/measurements.md)."""

_REQUEST_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class WorkCounters:
    """Counters of the work of one server. Any difference between two of them is progress.

    Attributes:
        cpu_milliseconds: CPU time of its processes, while it was more than that of an idle server.
        log_bytes: The size of its log.
        events: Events about prompts.
        queue_length: Running and waiting prompts at the last answer.
        gpu_looks: In how many looks a GPU was computing.
    """

    cpu_milliseconds: int = 0
    log_bytes: int = 0
    events: int = 0
    queue_length: int = 0
    gpu_looks: int = 0


class WorkMeter:
    """Reads the counters of one server.

    What cannot be read keeps its last value, so that a server that falls silent shows no progress by it.

    Args:
        leader_pid: The leader of the session of its processes.
        log: Its log.
        url: Its address; None to leave the queue out.
        count_events: Returns the number of events about prompts so far, as an event reader counts them.
        find_pids: Returns its processes; those of the session when None.
        read_gpu: Reads the GPUs; None to leave them out.
        monotonic: The clock.
    """

    def __init__(
        self,
        leader_pid: int,
        log: Path,
        url: str | None = None,
        *,
        count_events: Callable[[], int] = lambda: 0,
        find_pids: Callable[[], tuple[int, ...]] | None = None,
        read_gpu: Callable[[], GpuReading] | None = read_gpus,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._url = url
        self._count_events = count_events
        self._find_pids = find_pids or (lambda: find_session_pids(leader_pid))
        self._read_gpu = read_gpu
        self._monotonic = monotonic
        self._counters = WorkCounters()
        self._cpu_by_pid: Mapping[int, float] = {}
        self._read_at: float | None = None

    def read(self) -> WorkCounters:
        """Return the counters now."""
        last = self._counters
        queue_length = self._read_queue_length(last.queue_length)
        # Reading the GPU starts a child process, and an idle server has nothing to compute.
        is_gpu_computing = queue_length > 0 and self._is_gpu_computing()
        self._counters = WorkCounters(
            cpu_milliseconds=last.cpu_milliseconds + self._count_cpu(),
            log_bytes=self._read_log_size(last.log_bytes),
            events=self._count_events(),
            queue_length=queue_length,
            gpu_looks=last.gpu_looks + is_gpu_computing,
        )
        return self._counters

    def _count_cpu(self) -> int:
        """Return the CPU time since the last look; 0 when it is no more than that of an idle server."""
        now_seconds = self._monotonic()
        cpu_by_pid = read_cpu_seconds(self._find_pids())
        # Of a process that began in between all of it counts, of one that ended nothing.
        used_seconds = 0.0
        for pid, used in cpu_by_pid.items():
            used_seconds += max(0.0, used - self._cpu_by_pid.get(pid, 0.0))
        last_read_at = self._read_at
        self._cpu_by_pid, self._read_at = cpu_by_pid, now_seconds
        if last_read_at is None or used_seconds < _MIN_CPU_SHARE * (now_seconds - last_read_at):
            return 0
        return round(used_seconds * 1000)

    def _read_log_size(self, last: int) -> int:
        try:
            return os.stat(self._log).st_size
        except OSError:
            return last

    def _read_queue_length(self, last: int) -> int:
        if self._url is None:
            return last
        try:
            return read_queue_length(self._url, timeout_seconds=_REQUEST_SECONDS)
        except Failure:
            return last

    def _is_gpu_computing(self) -> bool:
        if self._read_gpu is None:
            return False
        reading = self._read_gpu()
        if reading.status == "none":
            # There is nothing to find at the next look either.
            self._read_gpu = None
        return any(device.utilisation_percent for device in reading.devices)


def read_cpu_seconds(pids: tuple[int, ...]) -> dict[int, float]:
    """Return the CPU time of processes by id, with that of children that they waited for."""
    import psutil

    used: dict[int, float] = {}
    for pid in pids:
        try:
            times = psutil.Process(pid).cpu_times()
        except psutil.Error:
            continue
        used[pid] = times.user + times.system + times.children_user + times.children_system
    return used
