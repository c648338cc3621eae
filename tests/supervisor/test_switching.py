from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from comfywatchman.supervisor.incidents import list_incidents
from comfywatchman.supervisor.lock import is_switch_locked
from comfywatchman.supervisor.mailbox import (
    CommandName,
    SwitchState,
    read_switch_request,
    read_switch_status,
    write_command,
    write_switch_request,
    write_switch_status,
)
from comfywatchman.supervisor.workspace import ComfygitWorkspace
from tests.supervisor.workspaces import RunningSupervisor, Workspace

pytestmark = pytest.mark.slow


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "ws", "main", "other")


def request_switch(supervisor: RunningSupervisor, target: str) -> None:
    """Ask as the panel does: the request is written, then ComfyUI exits with 43."""
    supervisor.wait_for_state("ready")
    write_switch_request(supervisor.workspace.metadata, target, source_env="main")
    supervisor.workspace.end("main", 43)


def read_active(workspace: Workspace) -> str | None:
    path = workspace.metadata / "workspace.json"
    return json.loads(path.read_text())["active_environment"] if path.exists() else None


def test_switch_updates_current_env(workspace: Workspace) -> None:
    with RunningSupervisor(workspace, "main") as supervisor:
        request_switch(supervisor, "other")
        states = [status["state"] for status in supervisor.switch_states("complete")]
        supervisor.wait_for_state("ready")
        assert supervisor.orchestrator.current_env_name == "other"
        assert supervisor.status()["environment"] == "other"
        assert read_switch_request(workspace.metadata) is None
    expected = ["preparing", "syncing", "starting", "validating", "complete"]
    assert states == [state for state in expected if state in states]
    assert read_active(workspace) == "other"


def test_success_is_shown_for_a_while_then_removed_with_the_lock(workspace: Workspace) -> None:
    with RunningSupervisor(workspace, "main") as supervisor:
        request_switch(supervisor, "other")
        supervisor.switch_states("complete")
        assert is_switch_locked(workspace.metadata)
        supervisor.wait_for(lambda: read_switch_status(workspace.metadata) is None)
        assert not is_switch_locked(workspace.metadata)


def test_environment_that_never_becomes_ready_is_rolled_back(workspace: Workspace) -> None:
    workspace.set_broken("other")
    with RunningSupervisor(workspace, "main") as supervisor:
        request_switch(supervisor, "other")
        final = supervisor.switch_states("rolled_back")[-1]
        supervisor.wait_for_state("ready")
        assert supervisor.orchestrator.current_env_name == "main"
        assert not is_switch_locked(workspace.metadata)
    assert "Two test prompts in a row failed: No image came." in str(final["error"])
    assert read_active(workspace) is None


def test_environment_that_crashes_is_rolled_back(workspace: Workspace) -> None:
    workspace.write_script("other", 7)
    with RunningSupervisor(workspace, "main") as supervisor:
        request_switch(supervisor, "other")
        final = supervisor.switch_states("rolled_back")[-1]
        supervisor.wait_for_state("ready")
    assert final["error"] == "ComfyUI exited with status 7 before it was ready."


def test_unknown_environment_is_rolled_back(workspace: Workspace) -> None:
    with RunningSupervisor(workspace, "main") as supervisor:
        request_switch(supervisor, "absent")
        final = supervisor.switch_states("rolled_back")[-1]
        supervisor.wait_for_state("ready")
    assert "There is no environment 'absent'" in str(final["error"])


def test_both_environments_broken_is_a_critical_failure(workspace: Workspace) -> None:
    workspace.write_script("other", 7)
    workspace.write_script("main", "stay", 8)
    with RunningSupervisor(workspace, "main") as supervisor:
        request_switch(supervisor, "other")
        final = supervisor.switch_states("critical_failure")[-1]
        supervisor.wait_for_state("gave_up")
        assert "status 7" in str(final["error"])
        assert "status 8" in str(final["error"])
        # A person repairs it and asks again.
        write_command(workspace.metadata, CommandName.RESTART)
        supervisor.wait_for_state("ready")


def test_abort_returns_to_the_old_environment(workspace: Workspace) -> None:
    (workspace.comfyui("other") / "silent").touch()
    with RunningSupervisor(workspace, "main") as supervisor:
        request_switch(supervisor, "other")
        supervisor.switch_states("validating")
        write_command(workspace.metadata, CommandName.ABORT_SWITCH)
        supervisor.switch_states("aborted")
        supervisor.wait_for_state("ready")
        assert supervisor.orchestrator.current_env_name == "main"
        assert not is_switch_locked(workspace.metadata)


def test_restart_during_a_switch_is_refused_and_answered(workspace: Workspace) -> None:
    (workspace.comfyui("other") / "silent").touch()
    with RunningSupervisor(workspace, "main") as supervisor:
        request_switch(supervisor, "other")
        supervisor.switch_states("validating")
        command = write_command(workspace.metadata, CommandName.RESTART)
        supervisor.wait_for(lambda: supervisor.status()["refused"] is not None)
        refused = supervisor.status()["refused"]
        assert isinstance(refused, dict)
        assert (refused["code"], refused["ordered_at"]) == ("supervisor-switch-running", command.timestamp)
        (workspace.comfyui("other") / "silent").unlink()
        supervisor.switch_states("complete")


@pytest.fixture
def installing(workspace: Workspace) -> ComfygitWorkspace:
    """The workspace with a uv that never ends."""
    project = workspace.root / "environments" / "other" / ".cec"
    project.mkdir()
    (project / "uv.lock").touch()
    (project / "pyproject.toml").touch()
    uv = workspace.root / "uv"
    uv.write_text(f"#!/bin/sh\ntouch {workspace.root}/installing\nexec sleep 600\n")
    uv.chmod(0o755)
    return ComfygitWorkspace(workspace.root, uv=uv)


def test_stop_ends_an_installation_at_once(workspace: Workspace, installing: ComfygitWorkspace) -> None:
    with RunningSupervisor(workspace, "main", environments=installing) as supervisor:
        request_switch(supervisor, "other")
        supervisor.wait_for((workspace.root / "installing").exists)
        supervisor.orchestrator.request_stop()
        assert supervisor.join() == 0
        status = read_switch_status(workspace.metadata)
    assert status is not None
    assert status.state is SwitchState.FAILED
    assert [len(workspace.starts(name)) for name in ("main", "other")] == [1, 0]


def test_abort_ends_an_installation(workspace: Workspace, installing: ComfygitWorkspace) -> None:
    with RunningSupervisor(workspace, "main", environments=installing) as supervisor:
        request_switch(supervisor, "other")
        supervisor.wait_for((workspace.root / "installing").exists)
        write_command(workspace.metadata, CommandName.ABORT_SWITCH)
        supervisor.switch_states("aborted")
        supervisor.wait_for_state("ready")
    assert workspace.starts("other") == []


def test_stop_is_carried_out_on_the_way_back(workspace: Workspace) -> None:
    workspace.write_script("other", 7)
    with RunningSupervisor(workspace, "main") as supervisor:
        supervisor.wait_for_state("ready")
        (workspace.comfyui("main") / "silent").touch()
        request_switch(supervisor, "other")
        supervisor.switch_states("rolling_back")
        supervisor.wait_for(lambda: len(workspace.starts("main")) == 2)
        write_command(workspace.metadata, CommandName.SHUTDOWN)
        assert supervisor.join() == 0


def test_crash_and_kill_during_a_switch_leave_their_incidents(workspace: Workspace) -> None:
    workspace.write_script("other", 7)
    with RunningSupervisor(workspace, "main") as supervisor:
        request_switch(supervisor, "other")
        supervisor.switch_states("rolled_back")
        supervisor.wait_for_state("ready")
        (crash,) = list_incidents(workspace.metadata)
        assert (crash.kind, crash.environment) == ("crash", "other")
        assert supervisor.status()["last_incident"] == crash.name
        workspace.write_script("other")
        workspace.set_broken("other")
        write_command(workspace.metadata, CommandName.SWITCH, target_env="other")
        supervisor.wait_for(lambda: len(list_incidents(workspace.metadata)) == 2)
        kill = list_incidents(workspace.metadata)[-1]
        supervisor.wait_for_state("ready")
        assert supervisor.status()["last_incident"] == kill.name
    assert (kill.kind, kill.reason, kill.environment) == ("killed", "canary_failed", "other")


def test_manual_start_during_a_switch_is_named(workspace: Workspace) -> None:
    with RunningSupervisor(workspace, "main") as supervisor:
        supervisor.wait_for_state("ready")
        with socket.socket() as manual:
            # The stand-in for ComfyUI does not listen, so this takes the port as a start by hand would.
            manual.bind(("127.0.0.1", supervisor.orchestrator.settings.port))
            manual.listen()
            request_switch(supervisor, "other")
            final = supervisor.switch_states("critical_failure")[-1]
    assert "is in use by process" in str(final["error"])


def test_switch_by_command(workspace: Workspace) -> None:
    with RunningSupervisor(workspace, "main") as supervisor:
        supervisor.wait_for_state("ready")
        write_command(workspace.metadata, CommandName.SWITCH, target_env="other")
        supervisor.switch_states("complete")
        supervisor.wait_for_state("ready")
        assert len(workspace.starts("other")) == 1


def test_switch_to_the_running_environment_changes_nothing(workspace: Workspace) -> None:
    with RunningSupervisor(workspace, "main") as supervisor:
        supervisor.wait_for_state("ready")
        write_command(workspace.metadata, CommandName.SWITCH, target_env="main")
        supervisor.wait_for(lambda: not (workspace.metadata / ".cmd").exists())
        supervisor.wait_for_state("ready")
    assert len(workspace.starts("main")) == 1


def test_switch_of_a_killed_supervisor_gets_a_final_status(workspace: Workspace) -> None:
    write_switch_status(
        workspace.metadata, SwitchState.VALIDATING, 85, "Waiting.", target_env="other", source_env="main"
    )
    write_switch_request(workspace.metadata, "other")
    with RunningSupervisor(workspace, "main") as supervisor:
        supervisor.wait_for_state("ready")
        status = read_switch_status(workspace.metadata)
        assert status is not None
        assert (status.state, status.target_env) == (SwitchState.FAILED, "other")
        assert read_switch_request(workspace.metadata) is None


def test_stop_during_a_switch_leaves_a_final_status(workspace: Workspace) -> None:
    (workspace.comfyui("other") / "silent").touch()
    with RunningSupervisor(workspace, "main") as supervisor:
        request_switch(supervisor, "other")
        supervisor.switch_states("validating")
        supervisor.stop()
    status = read_switch_status(workspace.metadata)
    assert status is not None
    assert status.state is SwitchState.FAILED
    assert not is_switch_locked(workspace.metadata)
