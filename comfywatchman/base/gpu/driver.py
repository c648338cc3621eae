"""What the GPU driver can serve, for the core packages that must fit it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from comfywatchman.base.gpu.query import GpuReading, read_gpus


@dataclass(frozen=True, slots=True)
class GpuDriver:
    """The NVIDIA driver of this machine.

    Attributes:
        present: Whether there is a GPU; None when the driver did not answer, so that nobody can tell.
        version: Its version, such as `580.95.05`; None when it is not known.
        cuda: The newest CUDA that it serves, major and minor; a torch built for a later major version does not run.
        devices: The names of the GPUs.
        reason: Why it is not known, or why there is none; None when there is a GPU.
    """

    present: bool | None
    version: str | None = None
    cuda: tuple[int, int] | None = None
    devices: tuple[str, ...] = ()
    reason: str | None = None


def read_gpu_driver(read: Callable[[], GpuReading] = read_gpus) -> GpuDriver:
    """Ask the driver; never waits longer than a few seconds.

    Args:
        read: How the GPUs are asked.
    """
    reading = read()
    # A partitioned GPU without an instance is no GPU to compute on, yet its driver is one all the same.
    present = {"ok": True, "none": False, "unknown": None}[reading.status]
    names = tuple(device.name for device in reading.devices)
    return GpuDriver(present, reading.driver_version, reading.cuda_version, names, reading.reason)
