"""The child process that calls NVML: `python -I -S nvml_probe.py FOLDER_OF_PYNVML LIBRARY` prints one line of JSON.

A driver can hang or crash the process that calls it, so the call runs in a process of its own. It imports nothing of
this package, so that it starts in a few hundredths of a second.
"""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any

_MIG_ENABLED = 1


def _decode(value: bytes | str) -> str:
    # pynvml returns bytes or str, depending on its version.
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _read_memory(nvml: Any, handle: Any) -> Any:
    """Return free and used memory; drivers before 510 and some MIG instances only have version 1 of the call."""
    try:
        return nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2)
    except nvml.NVMLError:
        return nvml.nvmlDeviceGetMemoryInfo(handle)


def _describe_device(nvml: Any, index: int, handle: Any, *, mig: bool) -> dict[str, Any]:
    device: dict[str, Any] = {"index": index, "mig": mig}
    try:
        device["uuid"] = _decode(nvml.nvmlDeviceGetUUID(handle))
        device["name"] = _decode(nvml.nvmlDeviceGetName(handle))
        memory = _read_memory(nvml, handle)
    except nvml.NVMLError as error:
        return {**device, "code": error.value, "problem": str(error)}
    # Not NVML's own `used`: version 2 leaves the driver's reserve out of it, version 1 does not.
    used = memory.total - memory.free
    utilisation = _read_utilisation(nvml, handle)
    return {**device, "total": memory.total, "free": memory.free, "used": used, "utilisation": utilisation}


def _read_utilisation(nvml: Any, handle: Any) -> int | None:
    """Return in how many percent of the last second a kernel ran; None for MIG instances, which do not report it."""
    try:
        return int(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
    except nvml.NVMLError:
        return None


def _is_in_mig_mode(nvml: Any, handle: Any) -> bool:
    try:
        return bool(nvml.nvmlDeviceGetMigMode(handle)[0] == _MIG_ENABLED)
    except nvml.NVMLError:
        # GPUs without MIG answer "not supported".
        return False


def _list_mig_instances(nvml: Any, index: int, handle: Any) -> list[dict[str, Any]]:
    instances = []
    for slot in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            instance = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, slot)
        except nvml.NVMLError:
            # A slot without an instance.
            continue
        instances.append(_describe_device(nvml, index, instance, mig=True))
    return instances


def _describe_gpu(nvml: Any, index: int) -> list[dict[str, Any]]:
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        if _is_in_mig_mode(nvml, handle):
            return _list_mig_instances(nvml, index, handle)
    except nvml.NVMLError as error:
        return [{"index": index, "mig": False, "code": error.value, "problem": str(error)}]
    return [_describe_device(nvml, index, handle, mig=False)]


def _read_driver_version(nvml: Any) -> str | None:
    try:
        return _decode(nvml.nvmlSystemGetDriverVersion())
    except nvml.NVMLError:
        return None


def _read_cuda_version(nvml: Any) -> int | None:
    """Return the newest CUDA version that the driver can run, in NVML's form: 12080 is 12.8."""
    try:
        return int(nvml.nvmlSystemGetCudaDriverVersion_v2())
    except nvml.NVMLError:
        return None


def probe_gpus(library: str) -> dict[str, Any]:
    """Return `driver`, `cuda`, `count` and `devices`, or `code` and `problem` when NVML could not be initialised."""
    # pynvml opens "libnvidia-ml.so.1" by name and gets the library of that name that is loaded already.
    ctypes.CDLL(library)
    import pynvml as nvml

    try:
        nvml.nvmlInit()
        count = nvml.nvmlDeviceGetCount()
    except nvml.NVMLError as error:
        return {"code": error.value, "problem": str(error)}
    devices = []
    for index in range(count):
        devices.extend(_describe_gpu(nvml, index))
    return {"driver": _read_driver_version(nvml), "cuda": _read_cuda_version(nvml), "count": count, "devices": devices}


if __name__ == "__main__":
    sys.path.append(sys.argv[1])
    # A new line first: a driver may have printed before.
    sys.stdout.write("\n" + json.dumps(probe_gpus(sys.argv[2])) + "\n")
