from __future__ import annotations

import json
import re
import signal
import socket
from pathlib import Path
from typing import cast

import pytest

from comfywatchman.base.clock import parse_utc
from comfywatchman.cli.supervise.run import StatusView
from comfywatchman.supervisor.mailbox import SwitchState, write_switch_status
from comfywatchman.supervisor.process_files import read_control_port
from comfywatchman.supervisor.states import SupervisorState
from comfywatchman.supervisor.status import SupervisorStatus
from tests.cli.supervise.calls import SupervisedWorkspace
from tests.fakes import FakeClock
from tests.supervisor.programs import is_running, wait_until
from tests.supervisor.workspaces import MAIN as SCRIPTED_MAIN


@pytest.mark.slow
def test_run_supervises_until_sigterm_and_notifies_systemd(idle: SupervisedWorkspace) -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(idle.folder / "notify"))
    variables = {"NOTIFY_SOCKET": str(idle.folder / "notify")}
    with listener, idle.supervised("other", "--", "--preview-method", "auto", **variables) as child:
        status = idle.wait_for_state("ready")
        messages = [listener.recv(4096).decode()]
        while "READY=1" not in messages[-1]:
            messages.append(listener.recv(4096).decode())
        assert status["environment"] == "other"
        assert status["proven_at"] is not None
        assert read_control_port(idle.metadata) is not None
        start = json.loads((idle.metadata / ".startup_state.json").read_text())
        assert start["argv"][:2] == ["--preview-method", "auto"]
        child.send_signal(signal.SIGTERM)
        output, errors = child.communicate(timeout=100)
    assert child.returncode == 0, errors
    assert not is_running(status["pid"])
    assert idle.read_status()["state"] == "stopped"
    assert read_control_port(idle.metadata) is None
    states = [line.split()[1] for line in output.splitlines() if line[:1].isdigit()]
    assert states[0] == "starting:"
    assert states[-2:] == ["stopping:", "stopped:"]
    assert "ready:" in states
    assert f"Log: {idle.metadata / 'comfyui.log'}" in output
    assert "STATUS=ComfyUI is starting." in messages[0]
    assert messages[-1].startswith("READY=1\nWATCHDOG=1\nSTATUS=ComfyUI is ready")


@pytest.mark.slow
def test_ctrl_c_ends_with_130_and_states_are_json(idle: SupervisedWorkspace) -> None:
    with idle.supervised("--json") as child:
        assert wait_until(lambda: "state" in idle.read_status())
        child.send_signal(signal.SIGINT)
        output, errors = child.communicate(timeout=100)
    assert child.returncode == 130, errors
    states = [json.loads(line)["supervisor"] for line in output.splitlines()]
    assert states[0]["state"] == "starting"
    assert states[-1]["state"] == "stopped"
    assert states[0]["sentence"] == "ComfyUI is starting."


@pytest.mark.slow
def test_cli_restart_loop_42(idle: SupervisedWorkspace) -> None:
    main = idle.workspace.comfyui("main")
    (main / "main.py").write_text(SCRIPTED_MAIN)
    idle.workspace.write_script("main", 42, 42, 0)
    ended = idle.program("run", "--", "--preview-method", "auto")
    assert ended.returncode == 0, ended.stderr
    starts = idle.workspace.starts("main")
    assert len(starts) == 3
    assert {tuple(cast("list[str]", start["argv"])[:2]) for start in starts} == {("--preview-method", "auto")}
    assert idle.read_status()["state"] == "stopped"
    # Exits that ask for a restart are no crashes.
    assert idle.json("incidents")["incidents"] == []


@pytest.mark.slow
def test_states_on_a_terminal_stand_above_the_last_line(idle: SupervisedWorkspace) -> None:
    (idle.workspace.comfyui("main") / "exit_at_start").write_text("0")
    screen = idle.on_a_terminal("run")
    # What a line shows is what was written after the last return to its beginning.
    lines = [re.split(r"\r|\x1b\[[0-9;?]*[A-Za-z]", line.rstrip("\r"))[-1] for line in screen.split("\n")]
    states = [line for line in lines if " stopped: " in line]
    assert states, screen
    assert all(re.match(r"20\d\d-", line) for line in states), screen


@pytest.mark.slow
def test_failed_first_start_exits_with_1(idle: SupervisedWorkspace) -> None:
    with socket.create_server(("127.0.0.1", idle.port)):
        ended = idle.program("run")
    assert ended.returncode == 1
    assert "supervisor-port-taken" in ended.stderr


@pytest.mark.slow
def test_taken_control_ports_give_a_warning(idle: SupervisedWorkspace) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ports = {f"COMFYWATCHMAN_SUPERVISOR__CONTROL_PORT_{name}": port for name in ("FIRST", "LAST")}
        with idle.supervised(**ports) as child:
            assert wait_until(lambda: "state" in idle.read_status())
            assert idle("stop", "--wait").exit_code == 0
            _output, errors = child.communicate(timeout=100)
    assert child.returncode == 0
    assert "without the control interface" in errors


def test_unknown_environment_is_refused(idle: SupervisedWorkspace) -> None:
    result = idle("run", "nowhere")
    assert result.exit_code == 1
    assert "nowhere" in str(result.exception)
    assert not (idle.metadata / ".supervisor.lock").exists()


def test_environment_must_be_named_when_none_is_in_use(idle: SupervisedWorkspace) -> None:
    (idle.metadata / "workspace.json").unlink()
    result = idle("run")
    assert "does not say which environment is in use" in str(result.exception)


def test_two_names_of_environments_are_refused(idle: SupervisedWorkspace) -> None:
    assert idle("run", "main", "--environment", "other").exit_code == 2


def test_workspace_must_be_one(idle: SupervisedWorkspace) -> None:
    result = idle("status", "--workspace", str(idle.folder / "home"))
    assert "neither a comfygit workspace nor a governed root" in str(result.exception)


@pytest.mark.slow
def test_second_supervisor_exits_with_75(running: SupervisedWorkspace) -> None:
    ended = running.program("run")
    assert ended.returncode == 75
    assert "lock-held" in ended.stderr


def build_status(state: SupervisorState) -> SupervisorStatus:
    return SupervisorStatus(
        state, "2026-11-20T12:00:05Z", "2026-11-20T12:00:00Z", port=8188, supervisor_pid=1, environment="main"
    )


def test_last_line_shows_state_and_progress(idle: SupervisedWorkspace, capsys: pytest.CaptureFixture[str]) -> None:
    clock = FakeClock(wall=parse_utc("2026-11-20T12:01:05Z"))
    view = StatusView(idle.metadata, clock, as_json=False)
    assert view.format_line() == "Starting"
    view(build_status(SupervisorState.READY))
    assert view.format_line() == "ready for 1 min 05 s in main, port 8188"
    view(build_status(SupervisorState.SWITCHING))
    assert view.format_line().startswith("switching for 1 min 05 s")
    write_switch_status(idle.metadata, SwitchState.SYNCING, 30, "Bringing it up to date.", target_env="other")
    assert view.format_line() == "switching, 30 %: Bringing it up to date."
    view(build_status(SupervisorState.SWITCHING))
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_only_environment_is_started_when_none_is_in_use(tmp_path: Path) -> None:
    site = SupervisedWorkspace(tmp_path, "only")
    (site.metadata / "workspace.json").unlink()
    (site.workspace.comfyui("only").parent / ".venv" / "bin" / "python").unlink()
    assert "'only' has no interpreter" in str(site("run").exception)
