"""Check `gpu-driver`: does the GPU driver support the CUDA version of the installed torch?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from comfywatchman.base.gpu.driver import GpuDriver
from comfywatchman.governance.checks.context import Check, CheckContext
from comfywatchman.governance.checks.result import CheckResult, CheckStatus
from comfywatchman.governance.store.records import InstalledPackage

_LOCAL_CUDA: Final = re.compile(r"\+cu(\d{2})(\d)\b")
_CUDA_RUNTIME: Final = re.compile(r"nvidia-cuda-runtime(-cu\d+)?")


def judge(packages: Iterable[InstalledPackage], driver: GpuDriver) -> CheckResult:
    """Judge whether the installed torch can use the GPU of this host.

    A driver supports every minor version of the CUDA major versions up to its own (NVIDIA, "CUDA Compatibility",
    section "CUDA minor version compatibility").
    """
    versions = {package.name: package.version for package in packages}
    torch = versions.get("torch")
    if torch is None:
        return _build_result("ok", "torch is not installed, so nothing here needs the GPU driver.")
    if driver.present is False:
        return _build_result("ok", f"torch {torch}; there is no NVIDIA GPU that it would have to fit.")
    cuda = find_cuda_version(versions)
    if cuda is None:
        return _judge_other_build(torch, driver)
    return _judge_cuda_build(torch, cuda, driver)


def find_cuda_version(versions: Mapping[str, str]) -> tuple[int, int] | None:
    """Return the CUDA version that the installed torch was built for; None when it cannot be determined.

    A build from PyTorch's own index names it (`2.9.1+cu128`); one from PyPI does not, but requires NVIDIA's runtime.

    Args:
        versions: The installed versions by normalised name.
    """
    torch = versions.get("torch", "")
    if match := _LOCAL_CUDA.search(torch):
        return int(match[1]), int(match[2])
    if "+" in torch:
        return None
    runtimes = []
    for name, version in versions.items():
        if _CUDA_RUNTIME.fullmatch(name):
            numbers = re.findall(r"\d+", version.partition("+")[0])
            if len(numbers) > 1:
                runtimes.append((int(numbers[0]), int(numbers[1])))
    return max(runtimes, default=None)


def _judge_other_build(torch: str, driver: GpuDriver) -> CheckResult:
    if "+" in torch and driver.present:
        action = "Add an index with the CUDA build of torch to pyproject.toml."
        return _build_result("warn", f"torch {torch} is not built for CUDA; this host has an NVIDIA GPU.", action)
    return _build_result("unknown", f"It is unknown whether torch {torch} fits the GPU of this host.")


def _judge_cuda_build(torch: str, cuda: tuple[int, int], driver: GpuDriver) -> CheckResult:
    build = f"torch {torch} is built for CUDA {_format_version(cuda)}"
    if driver.cuda is None:
        return _build_result("unknown", f"{build}; the GPU driver did not answer.")
    driver_name = f"the driver {driver.version}" if driver.version else "the driver"
    support = f"{driver_name} supports CUDA {_format_version(driver.cuda)}"
    if cuda[0] > driver.cuda[0]:
        action = f"Install an NVIDIA driver for CUDA {cuda[0]}, or choose a torch that is built for an older CUDA."
        return _build_result("fail", f"{build}, but {support}.", action)
    return _build_result("ok", f"{build}, and {support}.")


def _format_version(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _build_result(status: CheckStatus, evidence: str, action: str | None = None) -> CheckResult:
    return CheckResult(name=CHECK.name, vital=True, status=status, evidence=evidence, action=action)


def _run(context: CheckContext) -> CheckResult:
    packages = [] if context.production is None else list(context.production.installed)
    return judge(packages, context.driver)


CHECK = Check("gpu-driver", _run)
