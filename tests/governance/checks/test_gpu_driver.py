from __future__ import annotations

import pytest

from comfywatchman.base.gpu.driver import GpuDriver
from comfywatchman.governance.checks.gpu_driver import find_cuda_version, judge
from comfywatchman.governance.store.records import InstalledPackage

DRIVER = GpuDriver(present=True, version="570.86.15", cuda=(12, 8))


@pytest.mark.parametrize(
    ("versions", "build"),
    [
        ({"torch": "2.9.1+cu128"}, (12, 8)),
        ({"torch": "2.9.1+cu130"}, (13, 0)),
        ({"torch": "2.9.1+cpu", "nvidia-cuda-runtime-cu12": "12.8.90"}, None),
        ({"torch": "2.9.1", "nvidia-cuda-runtime-cu12": "12.8.90"}, (12, 8)),
        ({"torch": "2.9.1", "nvidia-cuda-runtime": "13.0.96"}, (13, 0)),
        ({"torch": "2.9.1"}, None),
        ({}, None),
    ],
)
def test_cuda_version_is_read_from_torch_or_its_runtime(
    versions: dict[str, str], build: tuple[int, int] | None
) -> None:
    assert find_cuda_version(versions) == build


@pytest.mark.parametrize(
    ("torch", "driver", "status"),
    [
        (None, DRIVER, "ok"),
        ("2.9.1+cu128", GpuDriver(present=False), "ok"),
        ("2.9.1+cu128", DRIVER, "ok"),
        ("2.9.1+cu130", DRIVER, "fail"),
        ("2.9.1+cu128", GpuDriver(present=None), "unknown"),
        ("2.9.1+cu129", DRIVER, "ok"),
        ("2.9.1+cu130", GpuDriver(present=True, cuda=(13, 0)), "ok"),
        ("2.9.1+cpu", DRIVER, "warn"),
        ("2.9.1+cpu", GpuDriver(present=None), "unknown"),
        ("2.9.1", DRIVER, "unknown"),
    ],
)
def test_torch_is_compared_with_the_driver(torch: str | None, driver: GpuDriver, status: str) -> None:
    packages = [InstalledPackage("torch", torch)] if torch else []
    result = judge(packages, driver)
    assert (result.name, result.status, result.vital) == ("gpu-driver", status, True)
