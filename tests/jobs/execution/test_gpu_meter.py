"""The peak of GPU memory, from ComfyUI's own figures."""

from __future__ import annotations

import pytest

from comfywatchman.comfyui.server.probes import ComputeDevice, SystemStats, read_system_stats
from comfywatchman.jobs.execution import gpu_meter
from comfywatchman.jobs.execution.gpu_meter import GpuMeter
from tests.servers.comfyui import FakeComfyUI
from tests.servers.comfyui_http import Faults


def stats(*devices: ComputeDevice) -> SystemStats:
    return SystemStats(None, (), devices)


def test_peak_is_the_largest_use() -> None:
    meter = GpuMeter("http://x", None)
    for free in (20, 4, 10):
        meter.add(stats(ComputeDevice("cuda", "a", 24, free)))
    meter.add(stats())
    meter.add(stats(ComputeDevice("cuda", "a", None, 1)))
    assert meter.peak_bytes == 20


def test_samples_are_taken_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_meter, "_REQUEST_SECONDS", 60.0)
    monkeypatch.setattr(gpu_meter, "_SAMPLE_SECONDS", 600.0)
    with FakeComfyUI(Faults(device="cuda")) as server:
        meter = GpuMeter(server.url, read_system_stats(server.url))
        before = len(server.requests)
        meter.sample()
        meter.sample()
        assert (meter.peak_bytes, len(server.requests) - before) == (4, 1)
        monkeypatch.setattr(gpu_meter, "_REQUEST_SECONDS", 0.05)
        meter._next_at = 0.0
        server.faults.failing_prefix = "/"
        meter.sample()
    assert meter.peak_bytes == 4


def test_machine_without_a_gpu_is_not_asked() -> None:
    with FakeComfyUI() as server:
        meter = GpuMeter(server.url, read_system_stats(server.url))
        before = len(server.requests)
        meter.sample()
        assert (meter.peak_bytes, len(server.requests)) == (None, before)
