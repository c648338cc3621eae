from __future__ import annotations

import pytest

from comfywatchman.base.gpu.driver import GpuDriver, read_gpu_driver
from comfywatchman.base.gpu.query import GpuDevice, GpuReading

CARD = GpuDevice(0, "GPU-a", "NVIDIA L4", 24, 20, 4)


@pytest.mark.parametrize(
    ("reading", "driver"),
    [
        (
            GpuReading("ok", (CARD,), None, "580.95.05", (13, 0)),
            GpuDriver(present=True, version="580.95.05", cuda=(13, 0), devices=("NVIDIA L4",)),
        ),
        (GpuReading("none", (), "no library"), GpuDriver(present=False, reason="no library")),
        (GpuReading("unknown", (), "it hung"), GpuDriver(present=None, reason="it hung")),
    ],
    ids=["a card", "no card", "a driver that hangs"],
)
def test_unknown_driver_is_not_a_missing_gpu(reading: GpuReading, driver: GpuDriver) -> None:
    assert read_gpu_driver(lambda: reading) == driver
