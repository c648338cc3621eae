"""A supervisor that was started for a switch: it waits for the ComfyUI that started it, then switches."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from comfywatchman.supervisor.mailbox import read_switch_request, write_switch_request
from tests.fakes import FakeClock
from tests.supervisor.workspaces import RunningSupervisor, Workspace

pytestmark = pytest.mark.slow


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "ws", "main", "other")


def test_pending_request_is_carried_out_first(workspace: Workspace) -> None:
    write_switch_request(workspace.metadata, "other", source_env="main")
    with RunningSupervisor(workspace, "main") as supervisor:
        supervisor.wait_for_state("ready")
        assert supervisor.status()["environment"] == "other"
    assert workspace.starts("main") == []
    assert len(workspace.starts("other")) == 1
    assert read_switch_request(workspace.metadata) is None


def test_switch_waits_for_the_comfyui_that_asked_for_it(workspace: Workspace) -> None:
    write_switch_request(workspace.metadata, "other", source_env="main")
    supervisor = RunningSupervisor(workspace, "main")
    with socket.socket() as comfyui:
        comfyui.bind(("127.0.0.1", supervisor.orchestrator.settings.port))
        comfyui.listen()
        with supervisor:
            # Without waiting it would have taken the request at once.
            supervisor._thread.join(0.5)
            assert read_switch_request(workspace.metadata) is not None
            comfyui.close()
            supervisor.wait_for_state("ready")
            assert supervisor.status()["environment"] == "other"


def test_failed_first_switch_goes_back_to_the_source(workspace: Workspace) -> None:
    workspace.write_script("other", 1)
    write_switch_request(workspace.metadata, "other", source_env="main")
    with RunningSupervisor(workspace, "main") as supervisor:
        supervisor.wait_for_state("ready")
        assert supervisor.status()["environment"] == "main"
    assert len(workspace.starts("main")) == len(workspace.starts("other")) == 1


def test_wait_for_the_port_can_be_ended(workspace: Workspace) -> None:
    write_switch_request(workspace.metadata, "other", source_env="main")
    supervisor = RunningSupervisor(workspace, "main")
    with socket.socket() as comfyui:
        comfyui.bind(("127.0.0.1", supervisor.orchestrator.settings.port))
        comfyui.listen()
        with supervisor:
            supervisor.stop()
    assert supervisor.result == 0
    assert read_switch_request(workspace.metadata) is not None
    assert workspace.starts("main") == workspace.starts("other") == []


def test_old_request_is_dropped(workspace: Workspace) -> None:
    write_switch_request(workspace.metadata, "other", source_env="main", clock=FakeClock())
    with RunningSupervisor(workspace, "main") as supervisor:
        supervisor.wait_for_state("ready")
        assert supervisor.status()["environment"] == "main"
    assert workspace.starts("other") == []
    assert read_switch_request(workspace.metadata) is None
