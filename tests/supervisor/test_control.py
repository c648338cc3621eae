from __future__ import annotations

import http.client
import json
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfywatchman.base.clock import SystemClock
from comfywatchman.base.errors import Failure
from comfywatchman.base.lock import hold_lock
from comfywatchman.comfyui.server.listening import find_free_port
from comfywatchman.supervisor.control import ControlServer
from comfywatchman.supervisor.mailbox import CommandName, PromptPolicy, SwitchState, take_command, write_switch_status
from comfywatchman.supervisor.process_files import read_control_port, read_control_token
from comfywatchman.supervisor.states import SupervisorState
from comfywatchman.supervisor.status import LOCK_NAME, SupervisorStatus, write_status

CLOCK = SystemClock()


class Client:
    def __init__(self, metadata: Path, port: int) -> None:
        self.metadata = metadata
        self.port = port
        self.token = read_control_token(metadata) or ""

    def send(
        self, method: str, path: str, body: bytes | None = None, **headers: str | None
    ) -> tuple[int, dict[str, object]]:
        """Send a request; a header of None is left out."""
        defaults: dict[str, str | None] = {
            "Host": f"127.0.0.1:{self.port}",
            "Authorization": f"Bearer {self.token}",
            "Content-Type": "application/json" if method == "POST" else None,
        }
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.putrequest(method, path, skip_host=True)
        for name, value in {**defaults, "Content-Length": str(len(body or b"")), **named}.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        content = json.loads(response.read())
        connection.close()
        return response.status, content


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    port = find_free_port()
    server = ControlServer(tmp_path, CLOCK, ports=(port, port + 20))
    try:
        yield Client(tmp_path, server.port)
    finally:
        server.close()


def publish(metadata: Path, *, queue_length: int = 0) -> None:
    status = SupervisorStatus(
        state=SupervisorState.READY,
        looked_at=CLOCK.now().isoformat(),
        since=CLOCK.now().isoformat(),
        port=8188,
        supervisor_pid=os.getpid(),
        environment="main",
        pid=8,
        queue_length=queue_length,
    )
    write_status(metadata, status)


def test_port_and_token_are_published_for_the_owner_only(client: Client) -> None:
    assert read_control_port(client.metadata) == client.port
    assert stat.S_IMODE((client.metadata / ".control_token").stat().st_mode) == 0o600


def test_files_are_deleted_at_the_end(tmp_path: Path) -> None:
    port = find_free_port()
    ControlServer(tmp_path, CLOCK, ports=(port, port + 20)).close()
    assert read_control_port(tmp_path) is None
    assert read_control_token(tmp_path) is None


def test_next_port_is_taken_when_the_first_is_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = ControlServer(tmp_path, CLOCK, ports=(port, port + 20))
        assert port < server.port <= port + 20
        server.close()


def test_all_ports_in_use_is_a_failure(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Failure) as caught:
            ControlServer(tmp_path, CLOCK, ports=(port, port))
    assert caught.value.code == "supervisor-control-unavailable"


def test_health_has_the_fields_of_comfygit(client: Client) -> None:
    with hold_lock(client.metadata / LOCK_NAME, command="supervise run", clock=CLOCK):
        publish(client.metadata)
        status, content = client.send("GET", "/health")
    assert status == 200
    assert (content["status"], content["current_env"], content["supervised"]) == ("ready", "main", True)
    assert isinstance(content["comfyui"], dict)
    assert content["comfyui"]["running"] is True


def test_health_before_the_first_status(client: Client) -> None:
    assert client.send("GET", "/health") == (200, {"status": "starting", "supervised": True})


def test_status_has_words_and_the_switch(client: Client) -> None:
    with hold_lock(client.metadata / LOCK_NAME, command="supervise run", clock=CLOCK):
        publish(client.metadata)
        write_switch_status(client.metadata, SwitchState.VALIDATING, 85, "Waiting.", target_env="other")
        _status, content = client.send("GET", "/status")
    assert isinstance(content["supervisor"], dict)
    assert content["supervisor"]["sentence"] == "ComfyUI is ready: a test prompt ran to its end."
    assert isinstance(content["switch"], dict)
    assert content["switch"]["progress"] == 85


@pytest.mark.parametrize(("query", "count"), [("", 80), ("?lines=3", 3), ("?lines=0", 1), ("?lines=x", 80)])
def test_logs_are_the_last_lines(client: Client, query: str, count: int) -> None:
    (client.metadata / "comfyui.log").write_text("".join(f"{number}\n" for number in range(200)))
    _status, content = client.send("GET", f"/logs{query}")
    assert content["lines"] == [str(number) for number in range(200 - count, 200)]


@pytest.mark.parametrize(
    ("path", "command"),
    [
        ("/restart", CommandName.RESTART),
        ("/stop", CommandName.SHUTDOWN),
        ("/kill", CommandName.SHUTDOWN),
        ("/abort", CommandName.ABORT_SWITCH),
    ],
)
def test_actions_leave_a_command(client: Client, path: str, command: CommandName) -> None:
    assert client.send("POST", path)[0] == 202
    taken = take_command(client.metadata)
    assert taken is not None
    assert taken.command is command


def test_switch_needs_an_environment(client: Client) -> None:
    assert client.send("POST", "/switch", b"{}")[0] == 400
    assert client.send("POST", "/switch", b'{"environment": 5}')[0] == 400
    assert client.send("POST", "/switch", b'{"environment": "other"}')[0] == 202
    taken = take_command(client.metadata)
    assert taken is not None
    assert taken.target_env == "other"


@pytest.mark.parametrize(("path", "body"), [("/restart", {}), ("/stop", {}), ("/switch", {"environment": "other"})])
def test_prompts_in_the_queue_are_not_ended_without_force(client: Client, path: str, body: dict[str, object]) -> None:
    with hold_lock(client.metadata / LOCK_NAME, command="supervise run", clock=CLOCK):
        publish(client.metadata, queue_length=2)
        assert client.send("POST", path, json.dumps(body).encode())[0] == 409
        assert take_command(client.metadata) is None
        for answer, policy in (("force", PromptPolicy.END), ("wait", PromptPolicy.WAIT)):
            status, content = client.send("POST", path, json.dumps({**body, answer: True}).encode())
            command = take_command(client.metadata)
            assert command is not None
            assert (status, command.prompts, content["ordered_at"]) == (202, policy, command.timestamp)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": None}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Basic x"}, 401),
        ({"Authorization": "Bearer \xff"}, 401),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1:1"}, 403),
        ({"Host": None}, 403),
        ({"Origin": "http://127.0.0.1:8188"}, 403),
        ({"Origin": "null"}, 403),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": None}, 415),
        ({"Content_Length": "-1"}, 413),
        ({"Content_Length": "99999999999999999999"}, 413),
        ({"Content_Length": "70000"}, 413),
    ],
)
@pytest.mark.slow
def test_unsafe_requests_change_nothing(client: Client, headers: dict[str, str | None], status: int) -> None:
    assert client.send("POST", "/restart", None, **headers)[0] == status
    assert take_command(client.metadata) is None


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff", b"1", b"[" * 2000])
def test_body_that_is_no_object_is_refused(client: Client, body: bytes) -> None:
    assert client.send("POST", "/restart", body)[0] == 400
    assert take_command(client.metadata) is None


@pytest.mark.parametrize(("method", "path"), [("GET", "/restart"), ("GET", "/../x"), ("POST", "/health"), ("GET", "/")])
def test_unknown_addresses_are_not_found(client: Client, method: str, path: str) -> None:
    assert client.send(method, path)[0] == 404


@pytest.mark.parametrize("headers", [{"Authorization": None}, {"Host": "evil.example"}])
def test_questions_need_the_token_too(client: Client, headers: dict[str, str | None]) -> None:
    assert client.send("GET", "/logs", None, **headers)[0] in {401, 403}


def test_other_methods_are_refused(client: Client) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=60)
    connection.request("DELETE", "/status")
    assert connection.getresponse().status == 501
    connection.close()
