"""The largest amount of GPU memory in use while a job runs, as ComfyUI reports it."""

from __future__ import annotations

import time
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpSession
from comfywatchman.comfyui.server.probes import SystemStats, read_system_stats

_SAMPLE_SECONDS: Final = 2.0
_REQUEST_SECONDS: Final = 2.0


class GpuMeter:
    """Samples the memory in use of ComfyUI's main GPU, at most every two seconds; nothing on a machine without one.

    Args:
        url: The address of ComfyUI.
        stats: What ComfyUI reported before the job.
    """

    def __init__(self, url: str, stats: SystemStats | None) -> None:
        self._url = url
        self._is_needed = stats is not None and stats.has_gpu
        self._next_at = 0.0
        self.peak_bytes: int | None = None

    def sample(self) -> None:
        """Take a sample when one is due; a server that does not answer gives none."""
        if not self._is_needed or time.monotonic() < self._next_at:
            return
        self._next_at = time.monotonic() + _SAMPLE_SECONDS
        try:
            with HttpSession(timeout_seconds=_REQUEST_SECONDS) as session:
                self.add(read_system_stats(self._url, session=session))
        except Failure:
            return

    def add(self, stats: SystemStats) -> None:
        """Count one reading."""
        device = stats.devices[0] if stats.devices else None
        if device is None or device.memory_total_bytes is None or device.memory_free_bytes is None:
            return
        self.peak_bytes = max(self.peak_bytes or 0, device.memory_total_bytes - device.memory_free_bytes)
