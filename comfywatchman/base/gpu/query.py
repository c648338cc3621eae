"""The GPUs of this machine: NVIDIA's by NVML in a child process (a driver can hang its caller), AMD's from sysfs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import msgspec

from comfywatchman.base.clock import Clock, SystemClock
from comfywatchman.base.errors import Failure
from comfywatchman.base.gpu.amd import AmdGpu, list_amd_gpus
from comfywatchman.base.gpu.hung_probe import find_hung_probe, remember_hung_probe
from comfywatchman.base.json_values import decode_json
from comfywatchman.base.process import ChildProcess, ProcessResult
from comfywatchman.base.text import format_size

LIBRARIES: Final = (
    "libnvidia-ml.so.1",
    "/usr/lib/wsl/lib/libnvidia-ml.so.1",
    "/run/opengl-driver/lib/libnvidia-ml.so.1",
)
"""Where NVML may be: on the loader's search path, then in the folders of WSL and NixOS, which that path may lack."""

SYSTEM_CLOCK: Final = SystemClock()

# nvmlReturn_t in nvml.h
_NOT_SUPPORTED: Final = 3
_DRIVER_NOT_LOADED: Final = 9

# Vendor and class of PCI devices (https://pci-ids.ucw.cz)
_NVIDIA_VENDOR: Final = "0x10de"
_DISPLAY_CLASS: Final = "0x03"


@dataclass(frozen=True, slots=True)
class GpuDevice:
    """One GPU, or one MIG instance of it.

    Attributes:
        index: Number of the physical GPU, as nvidia-smi counts; instances of one GPU share it.
        uuid: NVML's identity of the device; empty when it could not be read.
        name: The product's name; empty when it could not be read.
        memory_total_bytes: All memory; None when the driver did not report it.
        memory_free_bytes: Free memory; None when the driver did not report it.
        memory_used_bytes: Memory in use, the driver's own reserve included; None when the driver did not report it.
        mig: Whether this is an instance of a partitioned GPU.
        shares_system_memory: Whether the GPU has no memory of its own; the figures are then those of the machine.
        problem: Why the memory is unknown; None when it is known.
        utilisation_percent: In how much of the last second the GPU computed, for any process; None when it is unknown.
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
    utilisation_percent: int | None = None


@dataclass(frozen=True, slots=True)
class GpuReading:
    """The state of all GPUs at one moment.

    Attributes:
        status: `ok` when at least one device reports its memory; `none` when there is certainly no usable GPU of NVIDIA
            or AMD; `unknown` when the driver hung, crashed, failed or returned nonsense.
        devices: All devices in NVML's order; one that could not be read is included with its problem.
        reason: Why the status is not `ok`; None when it is.
        driver_version: The driver's version; None when it is not known.
        cuda_version: The newest CUDA version that the driver can run, major and minor; None when it is not known.
    """

    status: Literal["ok", "none", "unknown"]
    devices: tuple[GpuDevice, ...] = ()
    reason: str | None = None
    driver_version: str | None = None
    cuda_version: tuple[int, int] | None = None


class _ProbedDevice(msgspec.Struct, frozen=True):
    """One device as `nvml_probe` prints it."""

    index: int
    mig: bool
    uuid: str = ""
    name: str = ""
    total: int | None = None
    free: int | None = None
    used: int | None = None
    code: int = 0
    problem: str | None = None
    utilisation: int | None = None


class _ProbeResult(msgspec.Struct, frozen=True):
    """The JSON that `nvml_probe` prints."""

    code: int = 0
    problem: str | None = None
    driver: str | None = None
    cuda: int | None = None
    count: int = 0
    devices: tuple[_ProbedDevice, ...] = ()


def read_system_memory() -> tuple[int, int]:
    """Return the machine's total and available memory in bytes.

    Raises:
        OSError: The system does not report it.
    """
    import psutil

    memory = psutil.virtual_memory()
    return memory.total, memory.available


def read_gpus(
    *,
    timeout_seconds: float = 3.0,
    libraries: tuple[str, ...] = LIBRARIES,
    system: Path = Path("/"),
    system_memory: Callable[[], tuple[int, int]] = read_system_memory,
    hung_probe: Path | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> GpuReading:
    """Read the GPUs and their free memory, never waiting longer than the time limit.

    NVML is asked first; where it knows no GPU, AMD's are read.

    Args:
        timeout_seconds: How long the driver may take.
        libraries: Names or paths of NVML, tried in this order.
        system: The folder that holds `dev` and `sys`.
        system_memory: Returns total and available memory, for GPUs that share the machine's.
        hung_probe: The file that remembers a query that cannot be killed; None to remember nothing.
        clock: The clocks of this machine.
    """
    library = _find_library(libraries)
    if library is None:
        reading = _read_without_library(system)
    else:
        reading = _query_driver(
            library,
            timeout_seconds,
            system=system,
            system_memory=system_memory,
            hung_probe=hung_probe,
            clock=clock,
        )
    if reading.status == "none":
        amd = tuple(_build_amd_device(index, gpu) for index, gpu in enumerate(list_amd_gpus(system)))
        if amd:
            is_known = any(device.memory_free_bytes is not None for device in amd)
            reason = None if is_known else f"No GPU reports its memory: {amd[0].problem}."
            return GpuReading("ok" if is_known else "unknown", amd, reason)
    return reading


def _query_driver(
    library: str,
    timeout_seconds: float,
    *,
    system: Path,
    system_memory: Callable[[], tuple[int, int]],
    hung_probe: Path | None,
    clock: Clock,
) -> GpuReading:
    hung = None if hung_probe is None else find_hung_probe(hung_probe, clock)
    if hung is not None:
        # A second one would hang as well, and stay until the machine is restarted.
        return _unknown_reading(f"The NVIDIA driver still has not answered an earlier query (process {hung}).")
    try:
        with ChildProcess(_probe_command(library)) as child:
            status = child.wait(timeout_seconds)
            if status is not None:
                written = child.count_output_bytes()
                probe = ProcessResult(
                    status, child.output_tail(max_bytes=written), child.errors_tail(max_bytes=written)
                )
                return _parse_probe(probe, system, system_memory)
            if child.end(grace_seconds=0.0) is None and hung_probe is not None:
                remember_hung_probe(hung_probe, child.pid, clock)
    except Failure as failure:
        return _unknown_reading(f"The NVIDIA driver could not be queried: {failure.message}")
    return _unknown_reading(f"The NVIDIA driver did not answer within {timeout_seconds:g} seconds.")


def _build_amd_device(index: int, gpu: AmdGpu) -> GpuDevice:
    if gpu.total_bytes is None or gpu.used_bytes is None:
        problem = "the amdgpu driver reports no valid figures"
        return GpuDevice(index, gpu.uuid, gpu.name, None, None, None, problem=problem)
    return GpuDevice(
        index=index,
        uuid=gpu.uuid,
        name=gpu.name,
        memory_total_bytes=gpu.total_bytes,
        memory_free_bytes=gpu.total_bytes - gpu.used_bytes,
        memory_used_bytes=gpu.used_bytes,
        shares_system_memory=gpu.shares_system_memory,
    )


def _find_library(libraries: tuple[str, ...]) -> str | None:
    # Loading NVML runs no code of the driver before nvmlInit, so this is safe in our own process.
    for library in libraries:
        if _library_exists(library):
            return library
    return None


def _library_exists(library: str) -> bool:
    if "/" in library:
        return Path(library).exists()
    import ctypes

    try:
        ctypes.CDLL(library)
    except OSError as error:
        # dlopen(3) gives no error number, only a text. Any other error (a corrupt file, a missing dependency) means
        # that the library exists; the probe reports it.
        return "No such file" not in str(error)
    return True


def _read_without_library(system: Path) -> GpuReading:
    if (system / "dev/nvidiactl").exists():
        return _unknown_reading("There is an NVIDIA device, but the library libnvidia-ml.so.1 was not found.")
    return GpuReading(status="none", reason="No NVIDIA driver library was found.")


def _probe_command(library: str) -> list[str]:
    from importlib.util import find_spec

    # -I and -S keep site-packages out of the child, which makes it start fast; it needs pynvml's folder only.
    spec = find_spec("pynvml")
    packages = Path(spec.origin).parent if spec and spec.origin else Path()
    return [sys.executable, "-I", "-S", str(Path(__file__).with_name("nvml_probe.py")), str(packages), library]


def _parse_probe(probe: ProcessResult, system: Path, system_memory: Callable[[], tuple[int, int]]) -> GpuReading:
    if probe.status != 0:
        last_line = probe.errors.decode("utf-8", "replace").strip().rpartition("\n")[2][:200]
        how = f"signal {-probe.status}" if probe.status < 0 else f"status {probe.status}"
        return _unknown_reading(f"Querying the NVIDIA driver ended with {how}. {last_line}".strip())
    # The driver may print before the probe does; the JSON is the last line.
    output = probe.output.strip().rpartition(b"\n")[2]
    try:
        result = decode_json(output, _ProbeResult)
    except msgspec.DecodeError:
        return _unknown_reading("The NVIDIA driver's answer could not be understood.")
    return _build_reading(result, system, system_memory)


def _build_reading(result: _ProbeResult, system: Path, system_memory: Callable[[], tuple[int, int]]) -> GpuReading:
    if result.code == _DRIVER_NOT_LOADED and not _has_nvidia_card(system):
        return GpuReading(status="none", reason="The NVIDIA library is installed, but there is no NVIDIA GPU.")
    if result.problem is not None:
        return _unknown_reading(f"The NVIDIA driver reported: {result.problem}.")
    # NVML writes 12.8 as 12080.
    cuda = None if result.cuda is None else (result.cuda // 1000, result.cuda % 1000 // 10)
    if not result.devices:
        reason = "The GPU is in MIG mode without an instance." if result.count else "There is no NVIDIA GPU."
        return GpuReading(status="none", reason=reason, driver_version=result.driver, cuda_version=cuda)
    devices = tuple(_build_device(probed, system_memory) for probed in result.devices)
    if all(device.memory_free_bytes is None for device in devices):
        reason = f"No GPU reports its memory: {devices[0].problem}."
        return GpuReading("unknown", devices, reason, driver_version=result.driver, cuda_version=cuda)
    return GpuReading(status="ok", devices=devices, driver_version=result.driver, cuda_version=cuda)


def _build_device(probed: _ProbedDevice, system_memory: Callable[[], tuple[int, int]]) -> GpuDevice:
    # GPUs with unified memory (DGX Spark, Jetson) answer "not supported": NVIDIA documents that their memory is the
    # machine's. A MIG instance that answers so has memory of its own all the same.
    if probed.code == _NOT_SUPPORTED and not probed.mig:
        try:
            total, available = system_memory()
        except OSError:
            pass
        else:
            return GpuDevice(
                index=probed.index,
                uuid=probed.uuid,
                name=probed.name,
                memory_total_bytes=total,
                memory_free_bytes=available,
                memory_used_bytes=total - available,
                shares_system_memory=True,
            )
    device = GpuDevice(
        index=probed.index,
        uuid=probed.uuid,
        name=probed.name,
        memory_total_bytes=probed.total,
        memory_free_bytes=probed.free,
        memory_used_bytes=probed.used,
        mig=probed.mig,
        problem=probed.problem,
        utilisation_percent=probed.utilisation,
    )
    if probed.total is None or probed.free is None or 0 <= probed.free <= probed.total:
        return device
    # Believed, such a figure would let a cycle start beside a full GPU.
    problem = f"the driver reports {format_size(probed.free)} free of {format_size(probed.total)}"
    return replace(device, memory_total_bytes=None, memory_free_bytes=None, memory_used_bytes=None, problem=problem)


def _has_nvidia_card(system: Path) -> bool:
    for device in (system / "sys/bus/pci/devices").glob("*"):
        is_nvidia = _read_first_line(device / "vendor") == _NVIDIA_VENDOR
        # NVIDIA also makes sound and USB devices; only the display class is a GPU.
        if is_nvidia and _read_first_line(device / "class").startswith(_DISPLAY_CLASS):
            return True
    return False


def _read_first_line(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except OSError:
        return ""


def _unknown_reading(reason: str) -> GpuReading:
    return GpuReading(status="unknown", reason=reason)
