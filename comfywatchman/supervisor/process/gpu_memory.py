"""Reads how much GPU memory is in use, seldom enough for a process that runs for weeks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from comfywatchman.base.clock import Clock
from comfywatchman.base.gpu.query import GpuReading, read_gpus

_PAUSE_SECONDS: Final = 10.0
"""Between two readings, each of which is a child process."""


class GpuMemoryReader:
    """Reads the used memory of all GPUs of the machine.

    Args:
        clock: The clocks.
        read_gpu: Reads the GPUs.
    """

    def __init__(self, clock: Clock, read_gpu: Callable[[], GpuReading] = read_gpus) -> None:
        self._clock = clock
        self._read_gpu = read_gpu
        self._due_at = 0.0
        self._has_gpu = True
        self._used_bytes: int | None = None

    def read(self) -> int | None:
        """Return the used memory in bytes, at most some seconds old; None when it is unknown."""
        if self._has_gpu and self._clock.monotonic() >= self._due_at:
            self._due_at = self._clock.monotonic() + _PAUSE_SECONDS
            reading = self._read_gpu()
            # There will be none at the next look either.
            self._has_gpu = reading.status != "none"
            used = [device.memory_used_bytes for device in reading.devices if device.memory_used_bytes is not None]
            self._used_bytes = sum(used) if used else None
        return self._used_bytes
