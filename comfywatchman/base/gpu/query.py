"""The GPUs of this machine, asked in a child process because a driver can hang or crash whoever calls it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.process import ProcessResult, run_bounded

LIBRARIES: Final = (
    "libnvidia-ml.so.1",
    "/usr/lib/wsl/lib/libnvidia-ml.so.1",
    "/run/opengl-driver/lib/libnvidia-ml.so.1",
)
"""Where NVML may be: wherever the loader looks, then the folders of WSL and NixOS, which it does not always know."""

_NOT_SUPPORTED: Final = 3
_DRIVER_NOT_LOADED: Final = 9
_NVIDIA_VENDOR: Final = "0x10de"
_DISPLAY_CLASS: Final = "0x03"


@dataclass(frozen=True, slots=True)
class GpuDevice:
    """One GPU, or one MIG instance of it.

    Attributes:
        index: Number of the physical GPU, as nvidia-smi counts; instances of one GPU share it.
        uuid: NVML's identity of the device; empty when it could not be read.
        name: The product's name; empty when it could not be read.
        memory_total_bytes: All memory; None when the driver did not say.
        memory_free_bytes: Memory that nobody uses; None when the driver did not say.
        memory_used_bytes: Memory in use, the driver's own reserve included; None when the driver did not say.
        mig: Whether this is an instance of a partitioned GPU.
        shares_system_memory: Whether the GPU has no memory of its own, so that the figures are the machine's.
        problem: Why the memory is unknown; None when it is known.
    """

    index: int
    uuid: str
    name: str
    memory_total_bytes: int | None
    memory_free_bytes: int | None
    memory_used_bytes: int | None
    mig: bool = False
    shares_system_memory: bool = False
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class GpuReading:
    """One look at the GPUs.

    Attributes:
        status: `ok` when at least one device says how much memory it has; `none` when it is certain that there is no
            usable NVIDIA GPU; `unknown` when the driver hung, crashed, failed or talked nonsense.
        devices: What was found, in NVML's order; a device that could not be read is in it, with its problem.
        reason: Why the status is not `ok`; None when it is.
        driver_version: The driver's version, when it said.
        cuda_version: The newest CUDA that the driver can serve, major and minor, when it said.
    """

    status: Literal["ok", "none", "unknown"]
    devices: tuple[GpuDevice, ...] = ()
    reason: str | None = None
    driver_version: str | None = None
    cuda_version: tuple[int, int] | None = None


class _ProbedDevice(msgspec.Struct, frozen=True):
    index: int
    mig: bool
    uuid: str = ""
    name: str = ""
    total: int | None = None
    free: int | None = None
    used: int | None = None
    code: int = 0
    problem: str | None = None


class _ProbeResult(msgspec.Struct, frozen=True):
    code: int = 0
    problem: str | None = None
    driver: str | None = None
    cuda: int | None = None
    count: int = 0
    devices: tuple[_ProbedDevice, ...] = ()


def read_gpus(
    *,
    timeout_seconds: float = 3.0,
    libraries: tuple[str, ...] = LIBRARIES,
    system: Path = Path("/"),
) -> GpuReading:
    """Ask NVML what GPUs there are and how much of their memory is free; never waits longer than the time limit.

    Args:
        timeout_seconds: How long the driver may take to answer.
        libraries: Names or paths under which NVML is looked for, in this order.
        system: The folder under which `dev`, `proc` and `sys` lie.
    """
    library = _find_library(libraries)
    if library is None:
        return _read_without_library(system)
    try:
        ended = run_bounded(_probe_command(library), timeout_seconds=timeout_seconds)
    except Failure as failure:
        return _unknown_reading(f"The NVIDIA driver did not answer: {failure.message}")
    return _parse_probe(ended, system)


def _find_library(libraries: tuple[str, ...]) -> str | None:
    """Name the first library that exists; loading it runs nothing of the driver until NVML is initialised."""
    return next((library for library in libraries if _library_exists(library)), None)


def _library_exists(library: str) -> bool:
    if "/" in library:
        return Path(library).exists()
    import ctypes

    try:
        ctypes.CDLL(library)
    except OSError as error:
        # Any other complaint (a damaged file, a missing dependency) means that there is one, and it is the probe's.
        return "No such file" not in str(error)
    return True


def _read_without_library(system: Path) -> GpuReading:
    if (system / "dev/nvidiactl").exists():
        return _unknown_reading("An NVIDIA device is here, but the library libnvidia-ml.so.1 was not found.")
    return GpuReading(status="none", reason="No NVIDIA driver library was found.")


def _probe_command(library: str) -> list[str]:
    from importlib.util import find_spec

    spec = find_spec("pynvml")
    packages = Path(spec.origin).parent if spec and spec.origin else Path()
    return [sys.executable, "-I", "-S", str(Path(__file__).with_name("nvml_probe.py")), str(packages), library]


def _parse_probe(ended: ProcessResult, system: Path) -> GpuReading:
    if ended.status != 0:
        complaint = ended.errors.decode("utf-8", "replace").strip().rpartition("\n")[2][:200]
        how = f"signal {-ended.status}" if ended.status < 0 else f"status {ended.status}"
        return _unknown_reading(f"The question to the NVIDIA driver ended with {how}. {complaint}".strip())
    try:
        answer = msgspec.json.decode(ended.output.strip().rpartition(b"\n")[2], type=_ProbeResult)
    except msgspec.DecodeError:
        return _unknown_reading("The NVIDIA driver's answer could not be understood.")
    return _build_reading(answer, system)


def _build_reading(answer: _ProbeResult, system: Path) -> GpuReading:
    if answer.code == _DRIVER_NOT_LOADED and not _has_nvidia_card(system):
        return GpuReading(status="none", reason="The NVIDIA library is installed, but there is no NVIDIA GPU.")
    if answer.problem is not None:
        return _unknown_reading(f"The NVIDIA driver answered: {answer.problem}.")
    cuda = None if answer.cuda is None else (answer.cuda // 1000, answer.cuda % 1000 // 10)
    if not answer.devices:
        reason = "The GPU is in MIG mode without an instance." if answer.count else "There is no NVIDIA GPU."
        return GpuReading(status="none", reason=reason, driver_version=answer.driver, cuda_version=cuda)
    devices = tuple(_build_device(found, system) for found in answer.devices)
    if all(device.memory_free_bytes is None for device in devices):
        reason = f"No GPU says how much memory it has: {devices[0].problem}."
        return GpuReading("unknown", devices, reason, driver_version=answer.driver, cuda_version=cuda)
    return GpuReading(status="ok", devices=devices, driver_version=answer.driver, cuda_version=cuda)


def _build_device(found: _ProbedDevice, system: Path) -> GpuDevice:
    shared = _read_system_memory(system) if found.code == _NOT_SUPPORTED and not found.mig else None
    if shared is not None:
        total, free = shared
        return GpuDevice(found.index, found.uuid, found.name, total, free, total - free, shares_system_memory=True)
    return GpuDevice(
        index=found.index,
        uuid=found.uuid,
        name=found.name,
        memory_total_bytes=found.total,
        memory_free_bytes=found.free,
        memory_used_bytes=found.used,
        mig=found.mig,
        problem=found.problem,
    )


def _read_system_memory(system: Path) -> tuple[int, int] | None:
    """Return the machine's total and available memory; a GPU that answers "not supported" has none of its own.

    NVIDIA documents this for its unified-memory machines (DGX Spark, Jetson).
    """
    try:
        lines = (system / "proc/meminfo").read_text("ascii").splitlines()
        fields = {name: int(rest.split()[0]) << 10 for name, _, rest in (line.partition(":") for line in lines)}
        return fields["MemTotal"], fields["MemAvailable"]
    except (OSError, ValueError, KeyError, IndexError):
        return None


def _has_nvidia_card(system: Path) -> bool:
    return any(
        _read_first_line(device / "vendor") == _NVIDIA_VENDOR
        and _read_first_line(device / "class").startswith(_DISPLAY_CLASS)
        for device in (system / "sys/bus/pci/devices").glob("*")
    )


def _read_first_line(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except OSError:
        return ""


def _unknown_reading(reason: str) -> GpuReading:
    return GpuReading(status="unknown", reason=reason)
