"""The NVIDIA driver: its version and the newest CUDA that it can run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from comfywatchman.base.gpu.query import GpuReading, read_gpus


@dataclass(frozen=True, slots=True)
class GpuDriver:
    """The NVIDIA driver of this machine.

    Attributes:
        present: Whether there is a GPU; None when the driver did not answer, so it is not known.
        version: Its version, such as `580.95.05`; None when it is not known.
        cuda: The newest CUDA version it can run, major and minor; a torch built for a later major version does not run.
        devices: The names of the GPUs.
        reason: Why there is no GPU or why it is not known; None when there is a GPU.
    """

    present: bool | None
    version: str | None = None
    cuda: tuple[int, int] | None = None
    devices: tuple[str, ...] = ()
    reason: str | None = None


def read_gpu_driver(read: Callable[[], GpuReading] = read_gpus) -> GpuDriver:
    """Return the driver's facts within a few seconds, even when it hangs.

    Args:
        read: Reads the GPUs.
    """
    reading = read()
    # A GPU in MIG mode without an instance has status `none`: nothing to compute on. Its driver's version still counts.
    present = {"ok": True, "none": False, "unknown": None}[reading.status]
    names = tuple(device.name for device in reading.devices)
    return GpuDriver(present, reading.driver_version, reading.cuda_version, names, reading.reason)
