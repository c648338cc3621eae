from __future__ import annotations

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpSession
from comfywatchman.comfyui.server.probes import ComputeDevice, SystemStats, read_queue_length, read_system_stats
from tests.servers.base import LocalServer, Reply
from tests.servers.comfyui import FakeComfyUI
from tests.servers.comfyui_http import Faults


def test_queue_length_counts_running_and_waiting_prompts() -> None:
    with FakeComfyUI(Faults(dead_worker=True)) as server, HttpSession(timeout_seconds=10) as session:
        assert read_queue_length(server.url) == 0
        prompt = {"1": {"class_type": "PreviewAny", "inputs": {}}}
        session.post_json(f"{server.url}/prompt", {"prompt": prompt})
        assert read_queue_length(f"{server.url}/", session=session) == 1


def test_stats_are_read() -> None:
    with FakeComfyUI(Faults(device="cuda")) as server:
        stats = read_system_stats(server.url)
    assert (stats.version, stats.has_gpu) == ("0.33.0", True)
    assert stats.devices == (ComputeDevice("cuda", "cuda", 8, 4),)
    assert stats.argv


@pytest.mark.parametrize("devices", [(), (ComputeDevice("cpu", "cpu"),)])
def test_processor_is_not_a_gpu(devices: tuple[ComputeDevice, ...]) -> None:
    assert not SystemStats(None, (), devices).has_gpu


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"system": 3, "exec_info": {"queue_remaining": "1"}}'])
def test_other_programs_are_not_comfyui(body: bytes) -> None:
    with LocalServer({"/prompt": Reply(body), "/system_stats": Reply(body)}) as server:
        with pytest.raises(Failure) as queue:
            read_queue_length(server.url)
        with pytest.raises(Failure) as stats:
            read_system_stats(server.url)
    assert (queue.value.code, stats.value.code) == ("http-body", "http-body")


def test_odd_devices_are_kept_without_their_memory() -> None:
    body = b'{"system": {"argv": [1, "main.py"]}, "devices": [{"type": "xpu", "vram_total": "x"}, 3]}'
    with LocalServer({"/system_stats": Reply(body)}) as server:
        stats = read_system_stats(server.url)
    assert stats == SystemStats(None, ("main.py",), (ComputeDevice("xpu", ""), ComputeDevice("", "")))
