"""The panel's routes over HTTP: answered by the supervisor, carried out by an exit, or refused."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfywatchman.base.clock import SystemClock
from comfywatchman.supervisor.control import ControlServer
from comfywatchman.supervisor.lock import hold_switch_lock
from comfywatchman.supervisor.mailbox import (
    CommandName,
    SwitchState,
    read_switch_request,
    take_command,
    write_switch_status,
)
from comfywatchman.supervisor.panel.pack import routes
from comfywatchman.supervisor.process_files import (
    read_startup_state,
    write_control_port,
    write_control_token,
    write_orchestrator_pid,
)
from tests.supervisor.panel.panel_host import PanelHost
from tests.supervisor.recorder import Recorder

TOKEN = "token-of-the-supervisor"  # noqa: S105 - of a server of this test
POSTS = ("/orchestrator/restart", "/orchestrator/kill", "/switch_environment")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[PanelHost]:
    host = PanelHost(tmp_path)
    yield host
    host.stop()


@pytest.fixture
def supervised(host: PanelHost, monkeypatch: pytest.MonkeyPatch) -> PanelHost:
    """A ComfyUI whose supervisor (this process) has a control server."""
    monkeypatch.setenv("COMFYGIT_SUPERVISED", "1")
    host.start_control()
    write_orchestrator_pid(host.metadata)
    write_control_port(host.metadata, host.control.port)
    write_control_token(host.metadata, TOKEN)
    host.start()
    return host


@pytest.mark.parametrize(
    ("method", "path", "asked", "text"),
    [
        ("GET", "/orchestrator/health", "/health", ""),
        ("GET", "/orchestrator/status", "/status", ""),
        # The panel has looked at the queue itself.
        ("POST", "/orchestrator/restart", "/restart", '{"force": true}'),
        ("POST", "/orchestrator/kill", "/stop", '{"force": true}'),
    ],
)
def test_requests_are_passed_on_with_the_token(
    supervised: PanelHost, method: str, path: str, asked: str, text: str
) -> None:
    supervised.control.status = 202
    assert supervised.ask(method, path, b"{}" if method == "POST" else None) == (202, {"status": "ok"})
    assert supervised.control.requests == [(method, asked, f"Bearer {TOKEN}", text)]
    assert supervised.exits == []


def test_switch_is_passed_on(supervised: PanelHost) -> None:
    assert supervised.ask("POST", "/switch_environment", {"target_env": "dev"})[0] == 200
    assert supervised.control.requests == [
        ("POST", "/switch", f"Bearer {TOKEN}", '{"target_env": "dev", "force": true}')
    ]
    assert supervised.exits == []
    assert read_switch_request(supervised.metadata) is None


@pytest.mark.slow
def test_refusal_of_the_supervisor_reaches_the_page(supervised: PanelHost) -> None:
    supervised.control.status, supervised.control.body = 409, b'{"error": "busy"}'
    assert supervised.ask("POST", "/switch_environment", {"target_env": "dev"}) == (409, {"error": "busy"})
    assert supervised.exits == []


@pytest.mark.parametrize("body", [b"no JSON", b"\xff"])
def test_unusable_answer_of_the_supervisor_is_unreachable(supervised: PanelHost, body: bytes) -> None:
    supervised.control.body = body
    status, answer = supervised.ask("GET", "/orchestrator/health")
    assert (status, answer["error"]) == (503, "orchestrator_unreachable")


def test_closed_control_port_is_unreachable(supervised: PanelHost) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        write_control_port(supervised.metadata, closed.getsockname()[1])
        status, answer = supervised.ask("GET", "/orchestrator/status")
    assert (status, answer["error"]) == (503, "orchestrator_unreachable")


@pytest.mark.slow
def test_files_of_a_dead_supervisor_are_not_followed(supervised: PanelHost) -> None:
    (supervised.metadata / ".orchestrator.pid").write_text("4194304")
    status, answer = supervised.ask("GET", "/orchestrator/status")
    assert (status, answer["error"]) == (503, "orchestrator_unavailable")
    assert supervised.control.requests == []


def test_supervised_restart_without_control_server_exits_42(host: PanelHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYGIT_SUPERVISED", "1")
    host.start()
    assert host.ask("POST", "/orchestrator/restart", {})[0] == 200
    assert host.exits == [(0.3, 42)]


def test_unsupervised_restart_is_refused(host: PanelHost) -> None:
    host.start()
    status, answer = host.ask("POST", "/orchestrator/restart", {})
    assert (status, answer["error"]) == (409, "not_supervised")
    assert host.exits == []


def test_supervised_switch_without_control_server_exits_43(host: PanelHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYGIT_SUPERVISED", "1")
    host.start()
    status, answer = host.ask("POST", "/switch_environment", {"target_env": "dev"})
    assert (status, answer["status"]) == (200, "switching")
    assert host.exits == [(2.0, 43)]
    request = read_switch_request(host.metadata)
    assert request is not None
    assert request.target_env == "dev"
    # A second one does not change the first.
    assert host.ask("POST", "/switch_environment", {"target_env": "main"})[0] == 409
    assert read_switch_request(host.metadata) == request


def test_cli_started_spawns_on_switch_not_restart(host: PanelHost, tmp_path: Path) -> None:
    recorder = Recorder(host.workspace, tmp_path / "pack")
    recorder.build()
    host.start(orchestrator=(str(recorder.python), "supervise", "run"))
    try:
        assert host.ask("POST", "/orchestrator/restart", {})[0] == 409
        assert not recorder.has_started()
        assert host.ask("POST", "/switch_environment", {"target_env": "dev"})[0] == 200
        record = recorder.read()
        assert record.has_request
        assert record.argv[:3] == ["supervise", "run", "--"]
        assert record.sid == record.pid
        assert host.exits == [(2.0, 43)]
        state = read_startup_state(host.metadata)
        assert state is not None
        assert state.port == 8189
    finally:
        recorder.end()


def test_switch_without_orchestrator_environment_changes_nothing(host: PanelHost) -> None:
    host.start()
    status, answer = host.ask("POST", "/switch_environment", {"target_env": "dev"})
    assert (status, answer["error"]) == (503, "orchestrator_venv_missing")
    assert host.exits == []
    assert list(host.metadata.iterdir()) == []


def test_switch_that_cannot_be_prepared_changes_nothing(host: PanelHost, tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/absent/interpreter")
    broken.chmod(0o755)
    host.start(orchestrator=(str(broken),))
    status, answer = host.ask("POST", "/switch_environment", {"target_env": "dev"})
    assert (status, answer["error"]) == (500, "switch_failed")
    assert host.exits == []
    assert read_switch_request(host.metadata) is None


@pytest.mark.parametrize(
    "body", [b"", b"{torn", b"[]", b"null", {}, {"target_env": ""}, {"target_env": 5}, b"[" * 9000]
)
def test_switch_without_target_is_400(host: PanelHost, body: object) -> None:
    host.start()
    assert host.ask("POST", "/switch_environment", body)[0] == 400


@pytest.mark.parametrize("name", ["absent", "..", "../ws/environments/dev", "dev/", "*", "d?v", "\0"])
def test_switch_to_an_unknown_environment_is_404(host: PanelHost, name: str) -> None:
    host.start()
    assert host.ask("POST", "/switch_environment", {"target_env": name})[0] == 404


def test_switch_during_a_switch_is_409(host: PanelHost) -> None:
    host.start()
    with hold_switch_lock(host.metadata):
        status, answer = host.ask("POST", "/switch_environment", {"target_env": "dev"})
    assert (status, answer["error"]) == (409, "Environment switch already in progress")


def test_manual_start_beside_a_supervisor_cannot_switch(host: PanelHost) -> None:
    write_orchestrator_pid(host.metadata)
    host.start()
    status, answer = host.ask("POST", "/switch_environment", {"target_env": "dev"})
    assert (status, answer["error"]) == (409, "orchestrator_active")
    assert read_switch_request(host.metadata) is None


ORDERS: tuple[tuple[str, dict[str, str]], ...] = (
    ("/orchestrator/restart", {}),
    ("/switch_environment", {"target_env": "dev"}),
)


def test_prompts_are_not_lost_by_an_exit(host: PanelHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYGIT_SUPERVISED", "1")
    host.server.prompt_queue.jobs = 2
    host.start()
    for path, body in ORDERS:
        for force in ({}, {"force": False}, {"force": "yes"}):
            status, answer = host.ask("POST", path, {**body, **force})
            assert (status, answer["error"]) == (409, "queue_not_empty")
    assert host.exits == []
    assert read_switch_request(host.metadata) is None
    assert host.ask("POST", "/orchestrator/restart", {"force": True})[0] == 200
    assert host.exits == [(0.3, 42)]


def test_prompts_are_not_lost_by_the_supervisor(supervised: PanelHost) -> None:
    supervised.server.prompt_queue.jobs = 1
    for path, body in ORDERS:
        assert supervised.ask("POST", path, body)[0] == 409
    assert supervised.control.requests == []
    assert supervised.ask("POST", "/switch_environment", {"target_env": "dev", "force": True})[0] == 200
    assert [path for _, path, _, _ in supervised.control.requests] == ["/switch"]


@pytest.mark.slow
def test_control_server_of_the_supervisor_takes_the_orders(host: PanelHost) -> None:
    """With the real control server in place of the recording one."""
    control = ControlServer(host.metadata, SystemClock(), ports=(20000, 30000))
    write_orchestrator_pid(host.metadata)
    host.start()
    try:
        assert host.ask("GET", "/orchestrator/health")[0] == 200
        assert host.ask("GET", "/orchestrator/status")[0] == 200
        for path, expected in (("restart", CommandName.RESTART), ("kill", CommandName.SHUTDOWN)):
            assert host.ask("POST", f"/orchestrator/{path}", {})[0] == 202
            command = take_command(host.metadata)
            assert command is not None
            assert command.command is expected
    finally:
        control.close()
    assert host.ask("GET", "/orchestrator/health")[0] == 503


def test_real_control_server_takes_a_switch(host: PanelHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYGIT_SUPERVISED", "1")
    control = ControlServer(host.metadata, SystemClock(), ports=(20000, 30000))
    write_orchestrator_pid(host.metadata)
    host.start()
    try:
        assert host.ask("POST", "/switch_environment", {"target_env": "dev"})[0] == 202
        command = take_command(host.metadata)
        assert command is not None
        assert (command.command, command.target_env) == (CommandName.SWITCH, "dev")
    finally:
        control.close()


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),
        ({"Host": "192.168.0.5:8188"}, 403),
        ({"Host": ""}, 403),
    ],
)
def test_page_of_another_site_changes_nothing(
    supervised: PanelHost, path: str, headers: dict[str, str], status: int
) -> None:
    assert supervised.ask("POST", path, {"target_env": "dev"}, headers=headers)[0] == status
    assert supervised.control.requests == []
    assert supervised.exits == []


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]"])
def test_own_page_is_accepted(supervised: PanelHost, name: str) -> None:
    headers = {"Host": f"{name}:8188", "Origin": f"http://{name}:8188"}
    assert supervised.ask("POST", "/orchestrator/restart", {}, headers=headers)[0] == 200


def test_other_machines_may_be_allowed(host: PanelHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYGIT_SUPERVISED", "1")
    host.start(allow_remote=True)
    assert host.ask("POST", "/orchestrator/restart", {}, headers={"Host": "gpu.lan:8188"})[0] == 200


def test_environments_are_listed(host: PanelHost) -> None:
    host.start()
    status, answer = host.ask("GET", "/environments")
    assert status == 200
    assert [environment["name"] for environment in answer["environments"]] == ["dev", "main"]
    assert (answer["current"], answer["is_supervised"], answer["orchestrator_active"]) == (None, False, False)


def test_switch_status_is_shown(host: PanelHost) -> None:
    host.start()
    assert host.ask("GET", "/switch_status")[1]["state"] == "idle"
    write_switch_status(host.metadata, SwitchState.STARTING, 60, "Starting")
    assert host.ask("GET", "/switch_status")[1]["progress"] == 60


def test_panel_steps_back_beside_comfygit_manager(host: PanelHost) -> None:
    manager = Path(host.settings.folder).parent / "comfygit-manager" / "server"
    manager.mkdir(parents=True)
    (manager / "comfygit_panel.py").write_text("")
    assert not routes.register(host.server, host.settings)
    assert list(host.server.routes) == []
    manager.parent.rename(manager.parent.with_name("comfygit-manager.disabled"))
    assert routes.register(host.server, host.settings)
    # Its routes are taken now, as by a manager that was loaded earlier.
    assert not routes.register(host.server, host.settings)


def test_manual_start_during_a_switch_is_reported(host: PanelHost, caplog: pytest.LogCaptureFixture) -> None:
    with hold_switch_lock(host.metadata):
        host.start()
    assert "started by hand while a switch is running" in caplog.text
