from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from comfywatchman.base.gpu.query import GpuDevice, GpuReading
from comfywatchman.comfyui.server.prompt_client import PromptClient
from comfywatchman.comfyui.server.work_meter import WorkMeter, read_cpu_seconds
from tests.servers.comfyui import FakeComfyUI
from tests.servers.comfyui_http import Faults

SPIN = "while True: pass"
SLEEP = "import signal; signal.pause()"
CHILD_SPINS = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: pass'])"


@contextmanager
def start(program: str) -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-S", "-c", program], start_new_session=True) as process:
        try:
            yield process.pid
        finally:
            os.killpg(process.pid, 9)


def build_meter(
    pid: int, log: Path = Path("/nonexistent"), *, url: str | None = None, monotonic: float | None = None
) -> WorkMeter:
    clock = time.monotonic if monotonic is None else iter([0.0, monotonic, 2 * monotonic]).__next__
    return WorkMeter(pid, log, url, read_gpu=None, monotonic=clock)


def wait_for_cpu(pid: int, seconds: float) -> None:
    deadline = time.monotonic() + 60
    while sum(read_cpu_seconds((pid,)).values()) < seconds:
        assert time.monotonic() < deadline


@pytest.mark.slow
@pytest.mark.parametrize("program", [SPIN, CHILD_SPINS], ids=["leader", "child"])
def test_computing_is_progress(program: str) -> None:
    with start(program) as pid:
        meter = build_meter(pid)
        first = meter.read()
        deadline = time.monotonic() + 60
        while (counters := meter.read()) == first:
            assert time.monotonic() < deadline
    assert counters.cpu_milliseconds > 0


@pytest.mark.slow
def test_waiting_process_shows_no_progress() -> None:
    with start(SLEEP) as pid:
        meter = build_meter(pid)
        last, counters = None, meter.read()
        deadline = time.monotonic() + 60
        # Until it has started, it computes.
        while counters != last:
            assert time.monotonic() < deadline
            time.sleep(0.1)
            last, counters = counters, meter.read()


def test_little_cpu_time_is_that_of_an_idle_server() -> None:
    with start(SPIN) as pid:
        # A hundred hours on the clock of the meter: whatever it used meanwhile is next to nothing.
        meter = build_meter(pid, monotonic=360_000.0)
        first = meter.read()
        wait_for_cpu(pid, 0.02)
        assert meter.read() == first


def test_ended_process_shows_no_progress() -> None:
    with start(SLEEP) as pid:
        meter = build_meter(pid)
        meter.read()
    assert meter.read().cpu_milliseconds == 0
    assert read_cpu_seconds((pid,)) == {}


def test_growing_log_is_progress(tmp_path: Path) -> None:
    log = tmp_path / "log"
    meter = build_meter(0, log)
    assert meter.read().log_bytes == 0
    log.write_text("one line\n")
    assert meter.read().log_bytes == 9
    log.unlink()
    assert meter.read().log_bytes == 9, "what cannot be read is no progress"


def test_queue_is_progress_and_silence_is_not() -> None:
    with FakeComfyUI(Faults(dead_worker=True)) as server, PromptClient(server.url) as client:
        meter = build_meter(0, url=server.url)
        assert meter.read().queue_length == 0
        client.submit({"1": {"class_type": "PreviewAny", "inputs": {}}})
        assert meter.read().queue_length == 1
        server.faults.text_errors = {"/prompt"}
        assert meter.read().queue_length == 1


def test_events_are_progress() -> None:
    events = iter([3, 4])
    meter = WorkMeter(0, Path("/nonexistent"), count_events=lambda: next(events), read_gpu=None)
    assert [meter.read().events, meter.read().events] == [3, 4]


def build_gpu_reading(*utilisations: int | None) -> GpuReading:
    devices = [GpuDevice(0, "u", "n", 2, 1, 1, utilisation_percent=value) for value in utilisations]
    return GpuReading(status="ok" if devices else "none", devices=tuple(devices))


@pytest.mark.parametrize(
    ("reading", "looks"),
    [(build_gpu_reading(0, 7), 2), (build_gpu_reading(0), 0), (build_gpu_reading(None), 0), (build_gpu_reading(), 0)],
)
def test_computing_gpu_is_progress_while_prompts_wait(reading: GpuReading, looks: int) -> None:
    readings: list[GpuReading] = []

    def read_gpu() -> GpuReading:
        readings.append(reading)
        return reading

    with FakeComfyUI(Faults(dead_worker=True)) as server, PromptClient(server.url) as client:
        meter = WorkMeter(0, Path("/nonexistent"), server.url, read_gpu=read_gpu)
        meter.read()
        assert readings == [], "an idle server has nothing to compute"
        client.submit({"1": {"class_type": "PreviewAny", "inputs": {}}})
        meter.read()
        assert meter.read().gpu_looks == looks
    assert len(readings) == (1 if reading.status == "none" else 2), "a machine without a GPU is asked once"
