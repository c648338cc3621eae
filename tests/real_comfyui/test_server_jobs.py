"""Prompts, events and the canary on a real ComfyUI: the contract that tests/servers/comfyui.py imitates."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from comfywatchman.comfyui.server.canary import CanaryStatus, GpuCoverage, check_server
from comfywatchman.comfyui.server.event_reader import EventReader
from comfywatchman.comfyui.server.events import EventKind
from comfywatchman.comfyui.server.outputs import download_output, list_output_files
from comfywatchman.comfyui.server.probes import read_queue_length, read_system_stats
from comfywatchman.comfyui.server.prompt_client import CancelOutcome, PromptClient, PromptState
from comfywatchman.comfyui.server.prompt_queue import read_queue
from comfywatchman.comfyui.server.prompts import Prompt, PromptResult
from comfywatchman.comfyui.server.unread_clients import find_unread_clients
from comfywatchman.comfyui.server.work_meter import WorkMeter, read_cpu_seconds
from scripts.real_comfyui import start
from tests.servers.comfyui_http import client_that_does_not_read

if TYPE_CHECKING:
    from scripts.real_comfyui import Installed, Server

pytestmark = [pytest.mark.real_comfyui, pytest.mark.slow]

LIMIT_SECONDS = 60.0
SLEEPER = """
import time
import comfy.model_management
from comfy.utils import ProgressBar


class TestSleep:
    INPUT_TYPES = classmethod(lambda cls: {"required": {"seconds": ("FLOAT", {"max": 1e6}), "unique": ("STRING", {})}})
    RETURN_TYPES = ()
    FUNCTION = "sleep"
    OUTPUT_NODE = True

    def sleep(self, seconds, unique):
        progress = ProgressBar(int(seconds * 20) or 1)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.05)
            comfy.model_management.throw_exception_if_processing_interrupted()
            progress.update(1)
        return {"ui": {"text": (unique,)}}


NODE_CLASS_MAPPINGS = {"TestSleep": TestSleep}
"""
DEVICE_LOG = """
import sys
import comfy.model_management
import folder_paths

choose_device = comfy.model_management.get_torch_device


def get_torch_device():
    with open(folder_paths.get_user_directory() + "/devices.txt", "a") as log:
        log.write(sys._getframe(1).f_code.co_filename + "\\n")
    return choose_device()


comfy.model_management.get_torch_device = get_torch_device
NODE_CLASS_MAPPINGS = {}
"""
"""Records which files ask for the device to compute on, which is the GPU where there is one."""


@pytest.fixture(scope="module")
def server(real_comfyui_installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a node that takes time."""
    base = tmp_path_factory.mktemp("jobs")
    (base / "custom_nodes").mkdir()
    (base / "custom_nodes" / "sleeper.py").write_text(SLEEPER)
    (base / "custom_nodes" / "device_log.py").write_text(DEVICE_LOG)
    running = start(real_comfyui_installed, base)
    yield running
    running.stop()


@pytest.fixture
def client(server: Server) -> Iterator[PromptClient]:
    with PromptClient(server.url) as opened:
        yield opened
        assert read_queue_length(server.url) == 0, "each test leaves an empty queue"


def sleep_prompt(seconds: float) -> dict[str, Any]:
    return {"1": {"class_type": "TestSleep", "inputs": {"seconds": seconds, "unique": uuid.uuid4().hex}}}


def image_prompt(prefix: str, color: int) -> dict[str, Any]:
    image = {"width": 700, "height": 500, "batch_size": 1, "color": color}
    return {
        "1": {"class_type": "EmptyImage", "inputs": image},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": prefix}},
    }


def pause() -> bool:
    time.sleep(0.02)
    return True


def wait(client: PromptClient, prompt_id: str) -> PromptResult:
    return client.wait(prompt_id, limit_seconds=LIMIT_SECONDS, is_running=pause)


def wait_until_running(client: PromptClient, prompt_id: str) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while client.find_state(prompt_id) is not PromptState.RUNNING:
        assert time.monotonic() < deadline
        pause()


@contextmanager
def read_events(server: Server) -> Iterator[EventReader]:
    with EventReader(server.url) as reader:
        assert reader.wait_until_connected(LIMIT_SECONDS)
        yield reader


def list_files(base: Path) -> set[Path]:
    return {path for path in base.rglob("*") if path.is_file() and not path.is_relative_to(base / "user")}


def test_prompt_runs_under_our_id_and_its_output_is_downloaded(
    server: Server, client: PromptClient, tmp_path: Path
) -> None:
    prompt_id = str(uuid.uuid4())
    submission = client.submit(image_prompt("jobs/made", 77), prompt_id=prompt_id, extra_data={"cw": {"job": 1}})
    assert (submission.prompt_id, submission.refusal) == (prompt_id, None)
    assert wait(client, prompt_id) == PromptResult("success")
    entry = client.read_entry(prompt_id)
    assert entry is not None
    (file,) = list_output_files(entry)
    assert (file.subfolder, file.type) == ("jobs", "output")
    made = server.base / "output" / "jobs" / file.filename
    assert download_output(client.session, server.url, file, tmp_path / "made.png") == made.stat().st_size
    assert (tmp_path / "made.png").read_bytes() == made.read_bytes()


def test_large_output_is_downloaded_in_parts(
    server: Server, client: PromptClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfywatchman.comfyui.server.outputs._PART_BYTES", 1000)
    prompt_id = client.submit(image_prompt("jobs/parts", 0x123456)).prompt_id
    assert wait(client, prompt_id).outcome == "success"
    (file,) = list_output_files(client.read_entry(prompt_id) or {})
    download_output(client.session, server.url, file, tmp_path / "made.png")
    assert (tmp_path / "made.png").read_bytes() == (server.base / "output" / "jobs" / file.filename).read_bytes()


def test_refused_prompt_has_its_type(client: PromptClient) -> None:
    submission = client.submit({"1": {"class_type": "NoSuchNode", "inputs": {}}})
    assert submission.refusal is not None
    assert "NoSuchNode" in submission.refusal
    assert submission.error_type in {"invalid_prompt", "missing_node_type"}


def test_prompt_accepted_in_part_does_not_run(client: PromptClient) -> None:
    prompt = image_prompt("jobs/part", 5) | {"3": {"class_type": "SaveImage", "inputs": {"filename_prefix": "x"}}}
    submission = client.submit(prompt)
    assert submission.refusal is not None
    assert submission.error_type is None
    assert "3" in submission.node_errors


def test_waiting_prompt_leaves_the_queue(client: PromptClient) -> None:
    other = client.submit(sleep_prompt(600)).prompt_id
    wait_until_running(client, other)
    prompt_id = client.submit(sleep_prompt(600)).prompt_id
    assert client.find_state(prompt_id) is PromptState.PENDING
    assert client.cancel(prompt_id, limit_seconds=LIMIT_SECONDS, pause=pause) is CancelOutcome.CANCELLED
    assert client.read_entry(prompt_id) is None
    queue = read_queue(client.session, client.url)
    assert [item.prompt_id for item in queue.find_others(prompt_ids={prompt_id})] == [other]
    client.cancel(other, limit_seconds=LIMIT_SECONDS, pause=pause)


def test_running_prompt_is_interrupted_and_the_next_one_runs(client: PromptClient) -> None:
    prompt_id = client.submit(sleep_prompt(600)).prompt_id
    wait_until_running(client, prompt_id)
    other = client.submit(sleep_prompt(0.1)).prompt_id
    assert client.cancel(prompt_id, limit_seconds=LIMIT_SECONDS, pause=pause) is CancelOutcome.CANCELLED
    assert wait(client, prompt_id) == PromptResult("interrupted")
    assert wait(client, other) == PromptResult("success")
    assert client.cancel(other, limit_seconds=LIMIT_SECONDS, pause=pause) is CancelOutcome.FINISHED


def test_prompts_cancelled_at_any_moment_never_hit_their_successor(client: PromptClient) -> None:
    for number in range(25):
        prompt_id = client.submit(sleep_prompt(0.2)).prompt_id
        other = client.submit(sleep_prompt(0)).prompt_id
        time.sleep(number * 0.01)
        outcome = client.cancel(prompt_id, limit_seconds=LIMIT_SECONDS, pause=pause)
        assert outcome in {CancelOutcome.CANCELLED, CancelOutcome.FINISHED}
        assert wait(client, other) == PromptResult("success")


def test_events_arrive_in_order(server: Server) -> None:
    with read_events(server) as reader, PromptClient(server.url, client_id=reader.client_id) as client:
        prompt_id = str(uuid.uuid4())
        with reader.subscribe(prompt_id) as events:
            client.submit(sleep_prompt(0.3), prompt_id=prompt_id)
            seen = events.wait_for_end(LIMIT_SECONDS)
        assert wait(client, prompt_id).outcome == "success"
    kinds = [event.kind for event in seen]
    assert kinds[0] is EventKind.EXECUTION_START
    assert kinds[-1] in {EventKind.EXECUTION_SUCCESS, EventKind.EXECUTING}
    assert {EventKind.PROGRESS_STATE, EventKind.PROGRESS, EventKind.EXECUTED} <= set(kinds)
    states = [node.state for event in seen for node in event.nodes if event.kind is EventKind.PROGRESS_STATE]
    assert "running" in states


def test_interrupt_and_error_end_the_events(server: Server) -> None:
    with read_events(server) as reader, PromptClient(server.url, client_id=reader.client_id) as client:
        prompt_id = str(uuid.uuid4())
        with reader.subscribe(prompt_id) as events:
            client.submit(sleep_prompt(600), prompt_id=prompt_id)
            wait_until_running(client, prompt_id)
            client.cancel(prompt_id, limit_seconds=LIMIT_SECONDS, pause=pause)
            assert EventKind.EXECUTION_INTERRUPTED in {event.kind for event in events.wait_for_end(LIMIT_SECONDS)}


def test_canary_proves_the_server_and_leaves_nothing(server: Server) -> None:
    before, history = list_files(server.base), server.get("/history")[1]
    results = [check_server(server.url) for _ in range(20)]
    assert {result.status for result in results} == {CanaryStatus.RAN}
    assert {result.gpu for result in results} == {GpuCoverage.NO_GPU}, "the tests start ComfyUI with --cpu"
    assert list_files(server.base) - before <= {server.log}
    assert server.get("/history")[1] == history


def test_canary_moves_its_image_to_the_device_that_computes(server: Server) -> None:
    log = server.base / "user" / "devices.txt"
    log.write_text("")
    assert check_server(server.url).status is CanaryStatus.RAN
    assert "nodes_post_processing.py" in log.read_text()


def test_busy_server_is_not_tested(server: Server, client: PromptClient) -> None:
    prompt_id = client.submit(sleep_prompt(600)).prompt_id
    wait_until_running(client, prompt_id)
    assert check_server(server.url).status is CanaryStatus.BUSY
    assert client.find_state(prompt_id) is PromptState.RUNNING
    client.cancel(prompt_id, limit_seconds=LIMIT_SECONDS, pause=pause)


def test_client_that_does_not_read_is_named(server: Server) -> None:
    # As a browser of a sleeping laptop: it gets a large text of its own prompt and takes none of it.
    with PromptClient(server.url, client_id="stalled") as stalled:
        with client_that_does_not_read(server.port) as (_host, port):
            text = {"class_type": "PreviewAny", "inputs": {"source": uuid.uuid4().hex + "x" * (12 << 20)}}
            prompt_id = stalled.submit({"1": text}).prompt_id
            assert wait(stalled, prompt_id).outcome == "success"
            result = check_server(server.url, events_limit_seconds=1.0)
            assert result.status is CanaryStatus.EVENTS_MISSING
            assert [found.connection.port for found in find_unread_clients(server.port)] == [port]
        stalled.delete_entry(prompt_id)
    assert check_server(server.url).status is CanaryStatus.RAN
    assert find_unread_clients(server.port) == ()


def test_reader_that_drains_holds_up_nobody(server: Server) -> None:
    with read_events(server) as reader, PromptClient(server.url, client_id=reader.client_id) as client:
        # Nobody takes its events, the socket is read all the same.
        with reader.subscribe(limit=5):
            text = {"class_type": "PreviewAny", "inputs": {"source": uuid.uuid4().hex + "x" * (12 << 20)}}
            prompt_id = client.submit({"1": text}).prompt_id
            assert wait(client, prompt_id).outcome == "success"
            assert check_server(server.url).status is CanaryStatus.RAN
            assert find_unread_clients(server.port, looks=2, look_seconds=0.1) == ()
        client.delete_entry(prompt_id)


def test_second_connection_with_the_same_id_takes_the_events(server: Server) -> None:
    """Why each canary has a reader of its own, and each reader an id of its own."""
    with read_events(server) as first, EventReader(server.url, client_id=first.client_id) as second:
        assert second.wait_until_connected(LIMIT_SECONDS)
        with first.subscribe() as muted, second.subscribe() as heard:
            with PromptClient(server.url, client_id=first.client_id) as client:
                assert wait(client, client.submit(sleep_prompt(0)).prompt_id).outcome == "success"
            assert any(event.is_work for event in heard.wait_for_end(LIMIT_SECONDS))
            assert muted.take() == ()


def test_working_server_shows_progress_and_an_idle_one_none(server: Server, client: PromptClient) -> None:
    meter = WorkMeter(server.process.pid, server.log, server.url, read_gpu=None)
    image = {"width": 2048, "height": 2048, "batch_size": 2, "color": uuid.uuid4().int & 0xFFFFFF}
    prompt: Prompt = {
        "1": {"class_type": "EmptyImage", "inputs": image},
        "2": {"class_type": "ImageBlur", "inputs": {"image": ["1", 0], "blur_radius": 15, "sigma": 3.0}},
        "3": {"class_type": "PreviewAny", "inputs": {"source": ["2", 0]}},
    }
    first = meter.read()
    prompt_id = client.submit(prompt).prompt_id
    assert wait(client, prompt_id).outcome == "success"
    assert meter.read().cpu_milliseconds > first.cpu_milliseconds
    # Some seconds after a prompt, ComfyUI collects garbage once.
    deadline = time.monotonic() + LIMIT_SECONDS
    while (share := measure_idle_share(server, meter)) is None:
        assert time.monotonic() < deadline
    print(f"CPU time of an idle server that is asked twice a second: {share:.2%} of a core")  # noqa: T201 - for docs/measurements.md


def measure_idle_share(server: Server, meter: WorkMeter) -> float | None:
    """Return the share of a core that the server used in three seconds; None when that was work for the meter."""
    pids, looks, began = (server.process.pid,), [meter.read()], time.monotonic()
    before = sum(read_cpu_seconds(pids).values())
    for _ in range(6):
        time.sleep(0.5)
        looks.append(meter.read())
    if len(set(looks)) > 1:
        return None
    return (sum(read_cpu_seconds(pids).values()) - before) / (time.monotonic() - began)


def test_stats_describe_the_server(server: Server) -> None:
    stats = read_system_stats(server.url)
    assert f"--port={server.port}" in stats.argv
    assert (stats.has_gpu, stats.devices[0].type) == (False, "cpu")


def test_end_of_the_server_is_seen_and_the_reader_waits(real_comfyui_installed: Installed, tmp_path: Path) -> None:
    ended = start(real_comfyui_installed, tmp_path)
    with read_events(ended) as reader, PromptClient(ended.url) as client:
        ended.stop()
        deadline = time.monotonic() + LIMIT_SECONDS
        while reader.is_connected:
            assert time.monotonic() < deadline
            pause()
        result = client.wait(str(uuid.uuid4()), limit_seconds=LIMIT_SECONDS, is_running=lambda: False)
    assert result.outcome == "lost"
    assert check_server(ended.url).status is CanaryStatus.LOST
