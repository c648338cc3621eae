"""The event reader, over real sockets."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from comfywatchman.base.http import HttpSession
from comfywatchman.comfyui.server.event_reader import EventReader
from comfywatchman.comfyui.server.events import EventKind, ServerEvent, parse_event
from tests.servers.comfyui import FakeComfyUI
from tests.servers.comfyui_http import Faults, client_that_does_not_read
from tests.servers.proxy import ProxyServer

LIMIT_SECONDS = 60.0
ROOT = Path(__file__).resolve().parents[3]
TEXT_PROMPT = {"1": {"class_type": "PreviewAny", "inputs": {"source": "x"}}}


@pytest.fixture
def server() -> Iterator[FakeComfyUI]:
    with FakeComfyUI() as fake:
        yield fake


def submit(server: FakeComfyUI, reader: EventReader, prompt_id: str) -> None:
    with HttpSession(timeout_seconds=LIMIT_SECONDS) as session:
        body = {"prompt": TEXT_PROMPT, "prompt_id": prompt_id, "client_id": reader.client_id}
        assert session.post_json(f"{server.url}/prompt", body).status == 200


def run(server: FakeComfyUI, reader: EventReader, *, limit_seconds: float = LIMIT_SECONDS) -> tuple[ServerEvent, ...]:
    prompt_id = str(uuid.uuid4())
    with reader.subscribe(prompt_id) as events:
        submit(server, reader, prompt_id)
        return events.wait_for_end(limit_seconds)


def wait_for_problem(reader: EventReader, text: str) -> str:
    """Wait until a reader has a problem with this text; return it."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while text not in (problem := reader.problem or ""):
        assert time.monotonic() < deadline, problem
        time.sleep(0.01)
    assert not reader.is_connected
    return problem


def test_events_of_a_prompt_arrive_in_order(server: FakeComfyUI) -> None:
    with EventReader(server.url + "/") as reader:
        assert reader.wait_until_connected(LIMIT_SECONDS)
        kinds = [event.kind for event in run(server, reader)]
    assert kinds[0] is EventKind.EXECUTION_START
    assert EventKind.EXECUTED in kinds
    assert kinds[-1] in {EventKind.EXECUTION_SUCCESS, EventKind.EXECUTING}
    assert (reader.connections, reader.is_connected) == (1, False)
    assert reader.work_events >= len(kinds)


def test_previews_that_name_their_prompt_are_requested(server: FakeComfyUI) -> None:
    with EventReader(server.url) as reader:
        assert reader.wait_until_connected(LIMIT_SECONDS)
        deadline = time.monotonic() + LIMIT_SECONDS
        while not server.heard:
            assert time.monotonic() < deadline
    assert json.loads(server.heard[0]) == {"type": "feature_flags", "data": {"supports_preview_metadata": True}}


def test_subscription_to_everything_sees_the_queue(server: FakeComfyUI) -> None:
    with EventReader(server.url) as reader, reader.subscribe() as events:
        assert reader.wait_until_connected(LIMIT_SECONDS)
        first = events.take(LIMIT_SECONDS)[0]
    assert (first.kind, first.session_id, first.queue_length) == (EventKind.STATUS, reader.client_id, 0)


def test_events_of_other_clients_do_not_arrive(server: FakeComfyUI) -> None:
    with EventReader(server.url) as reader, EventReader(server.url) as other, other.subscribe() as events:
        assert reader.wait_until_connected(LIMIT_SECONDS)
        assert other.wait_until_connected(LIMIT_SECONDS)
        run(server, reader)
        server.send("status", {"status": {"exec_info": {"queue_remaining": 7}}})
        seen: list[ServerEvent] = []
        while not any(event.queue_length == 7 for event in seen):
            seen.extend(events.take(LIMIT_SECONDS))
    assert {event.kind for event in seen} == {EventKind.STATUS}


@pytest.mark.slow
def test_reader_connects_again_after_the_server_closed(server: FakeComfyUI) -> None:
    with EventReader(server.url) as reader, reader.subscribe() as events:
        assert reader.wait_until_connected(LIMIT_SECONDS)
        events.take()
        server.close_sockets()
        seen = events.take(LIMIT_SECONDS)
        assert seen[0].session_id == reader.client_id
        assert reader.connections == 2
        assert run(server, reader)[-1].ends_prompt


@pytest.mark.slow
def test_reader_waits_for_a_server_that_starts_later() -> None:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    with EventReader(f"http://127.0.0.1:{port}") as reader:
        wait_for_problem(reader, "refused")
        with FakeComfyUI(port=port):
            assert reader.wait_until_connected(LIMIT_SECONDS)
            assert reader.problem is None


@contextmanager
def start_process(port: int, *faults: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    arguments = [f"--fault={fault}" for fault in faults]
    command = [sys.executable, "-m", "tests.servers.comfyui", f"--port={port}", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.kill()


@pytest.mark.slow
def test_killed_server_is_noticed_and_its_successor_found() -> None:
    with start_process(0) as (url, process), EventReader(url) as reader:
        assert reader.wait_until_connected(LIMIT_SECONDS)
        process.kill()
        # Until then it may hold the port.
        process.wait()
        with reader.subscribe() as events, start_process(int(url.rpartition(":")[2])):
            assert events.take(LIMIT_SECONDS)[0].session_id == reader.client_id
    assert reader.connections == 2


def test_refused_socket_is_a_problem_not_an_error(caplog: pytest.LogCaptureFixture) -> None:
    with FakeComfyUI(Faults(refuses_sockets=True)) as server, EventReader(server.url) as reader:
        wait_for_problem(reader, "503")
    assert not caplog.records


@pytest.mark.parametrize("url", ["file:///etc/passwd", "nonsense", "http://"])
def test_invalid_address_is_a_problem(url: str) -> None:
    with EventReader(url) as reader:
        wait_for_problem(reader, "Failure: The address of ComfyUI is not an http or https address.")


@pytest.mark.slow
def test_unread_buffer_never_blocks_the_server(server: FakeComfyUI) -> None:
    with EventReader(server.url) as reader, reader.subscribe(limit=10) as idle, reader.subscribe() as other:
        assert reader.wait_until_connected(LIMIT_SECONDS)
        for number in range(2000):
            server.send_bytes(b"\x00\x00\x00\x01\x00\x00\x00\x01" + bytes(10_000))
            server.send("progress", {"prompt_id": "p", "node": "1", "value": number, "max": 2000})
        server.send("execution_success", {"prompt_id": "p"})
        assert other.wait_for_end(LIMIT_SECONDS)[-1].kind is EventKind.EXECUTION_SUCCESS
        taken = idle.take()
    assert len(taken) == 10
    assert taken[-1].kind is EventKind.EXECUTION_SUCCESS


def test_malformed_messages_are_skipped(server: FakeComfyUI) -> None:
    with EventReader(server.url) as reader:
        assert reader.wait_until_connected(LIMIT_SECONDS)
        server.send_bytes(b"")
        server.send_bytes(b"\x00\x00\x00\x04\xff\xff\xff\xffnot json")
        server.send("crystools.monitor", {"cpu": 3})
        server.send("status", None)
        assert run(server, reader)[-1].ends_prompt
        assert reader.connections == 1


@pytest.mark.slow
def test_message_beyond_any_limit_ends_only_the_connection(
    server: FakeComfyUI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfywatchman.comfyui.server.event_reader._MAX_MESSAGE_BYTES", 1 << 16)
    with EventReader(server.url) as reader, reader.subscribe() as events:
        assert reader.wait_until_connected(LIMIT_SECONDS)
        events.take()
        server.send("executed", {"prompt_id": "p", "output": "x" * (1 << 17)})
        assert events.take(LIMIT_SECONDS)[0].kind is EventKind.STATUS
        assert reader.connections == 2


@pytest.mark.slow
def test_client_that_does_not_read_holds_up_all_events(server: FakeComfyUI) -> None:
    with client_that_does_not_read(server.port), EventReader(server.url) as reader:
        assert reader.wait_until_connected(LIMIT_SECONDS)
        server.send("executed", {"output": "x" * (8 << 20)}, "stalled")
        assert run(server, reader, limit_seconds=0.3) == ()


@pytest.mark.slow
def test_closing_does_not_wait_for_a_server_that_hangs() -> None:
    with FakeComfyUI(Faults(hanging={"/ws"})) as server, EventReader(server.url) as reader:
        assert not reader.wait_until_connected(0.05)
        began = time.monotonic()
        reader.close()
        assert time.monotonic() - began < 40
        server.leave.set()


def test_no_thread_stays_after_closing(server: FakeComfyUI) -> None:
    with EventReader(server.url) as reader:
        assert reader.wait_until_connected(LIMIT_SECONDS)
    # Closing waits a second for it at most.
    deadline = time.monotonic() + LIMIT_SECONDS
    while [thread for thread in threading.enumerate() if thread.name == "comfyui-events"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_unexpected_error_is_logged_and_the_reader_goes_on(
    server: FakeComfyUI, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failures = iter([ZeroDivisionError("made")])

    def parse_once(message: str | bytes) -> ServerEvent | None:
        for failure in failures:
            raise failure
        return parse_event(message)

    monkeypatch.setattr("comfywatchman.comfyui.server.event_reader.parse_event", parse_once)
    with EventReader(server.url.replace("//", "//user:secret@")) as reader:
        assert reader.wait_until_connected(LIMIT_SECONDS)
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.__dict__["url"] == server.url, "without user name and password"


def test_server_behind_a_proxy_is_reached_through_it(server: FakeComfyUI, monkeypatch: pytest.MonkeyPatch) -> None:
    with ProxyServer(server.port, credentials="me:p@ss/word") as proxy:
        monkeypatch.setenv("http_proxy", f"http://me:p%40ss%2Fword@127.0.0.1:{proxy.port}")
        with EventReader("http://comfy.example:8188") as reader:
            assert reader.wait_until_connected(LIMIT_SECONDS)
    assert proxy.targets == ["comfy.example:8188"]


@pytest.mark.slow
def test_refusing_proxy_is_a_problem_without_its_password(
    server: FakeComfyUI, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with ProxyServer(server.port, credentials="me:other") as proxy:
        monkeypatch.setenv("http_proxy", f"http://me:secret@127.0.0.1:{proxy.port}")
        with EventReader("http://comfy.example:8188") as reader:
            assert "secret" not in wait_for_problem(reader, "407")
    assert not caplog.records
