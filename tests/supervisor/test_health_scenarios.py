"""The seed's scenarios of health checking and of restarts, with real processes and sockets."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from comfywatchman.base.process import ChildProcess
from comfywatchman.comfyui.server.listening import find_free_port
from comfywatchman.supervisor.health_policy import HealthLimits
from comfywatchman.supervisor.incidents import list_incidents
from comfywatchman.supervisor.loop import Orchestrator
from comfywatchman.supervisor.mailbox import write_switch_request
from comfywatchman.supervisor.workspace import should_spawn_orchestrator_for_switch
from tests.supervisor.workspaces import QUICK, FolderProbes, RunningSupervisor, Workspace

pytestmark = pytest.mark.slow


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "ws", "main", "other")


@pytest.fixture
def orchestrator(workspace: Workspace) -> Iterator[Orchestrator]:
    orchestrator = Orchestrator(
        workspace.root, "main", probes=lambda process: FolderProbes(process, workspace.comfyui("main"))
    )
    yield orchestrator
    orchestrator._cleanup()


def test_wait_for_health_success(workspace: Workspace) -> None:
    with RunningSupervisor(workspace, "main") as supervisor:
        supervisor.wait_for_state("ready")
        assert supervisor.status()["reason"] == "canary_ran"


def test_wait_for_health_process_died(workspace: Workspace) -> None:
    workspace.write_script("main", 5, 0)
    with RunningSupervisor(workspace, "main") as supervisor:
        assert supervisor.join() == 0
    assert [incident.exit_status for incident in list_incidents(workspace.metadata)] == [5]


def test_wait_for_health_timeout(workspace: Workspace) -> None:
    (workspace.comfyui("main") / "silent").touch()
    # On a slow machine several starts may be too slow to be recorded.
    restarts = replace(QUICK.restarts, max_starts=100)
    settings = replace(QUICK, restarts=restarts, health=HealthLimits(startup_progress=1.0, startup=60, steady=0.1))
    with RunningSupervisor(workspace, "main", (), settings) as supervisor:
        supervisor.wait_for(lambda: len(workspace.starts("main")) >= 2)
    assert list_incidents(workspace.metadata)[0].reason == "no_startup_progress"


def test_wait_for_health_requires_stability_period(workspace: Workspace) -> None:
    settings = replace(QUICK, health=HealthLimits(startup_progress=30, startup=120, steady_answers=3, steady=5.0))
    with RunningSupervisor(workspace, "main", (), settings) as supervisor:
        supervisor.wait_for_state("settling")
        supervisor.wait_for_state("ready")
        signals_reason = supervisor.status()["reason"]
    assert signals_reason == "canary_ran"


class UnstableProbes(FolderProbes):
    """Answers, fails and answers again before it answers always."""

    answers: ClassVar[list[bool]] = []

    def ask_stats(self) -> bool:
        number = len(self.answers)
        self.answers.append(super().ask_stats() and (number >= 8 or number % 3 != 2))
        return self.answers[-1]


def test_wait_for_health_unstable_connection(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UnstableProbes, "answers", [])
    monkeypatch.setattr(
        RunningSupervisor,
        "_build_probes",
        lambda _self, process: UnstableProbes(process, workspace.comfyui("main")),
    )
    settings = replace(QUICK, health=HealthLimits(startup_progress=60, startup=120, steady_answers=3, steady=0.0))
    with RunningSupervisor(workspace, "main", (), settings) as supervisor:
        supervisor.wait_for_state("ready")
        answers = UnstableProbes.answers[:]
    # Before the ninth answer there were never three in a row.
    assert answers[:9] == [True, True, False, True, True, False, True, True, True]


def test_wait_for_health_with_custom_port(workspace: Workspace) -> None:
    port = find_free_port()
    with RunningSupervisor(workspace, "main", (f"--port={port}",)) as supervisor:
        supervisor.wait_for_state("ready")
        assert supervisor.status()["port"] == port
    assert f"--port={port}" in str(workspace.starts("main")[0]["argv"])


def test_check_port_connection_success(orchestrator: Orchestrator) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert orchestrator._check_port_connection(listener.getsockname()[1])


def test_check_port_connection_refused(orchestrator: Orchestrator) -> None:
    assert not orchestrator._check_port_connection(find_free_port())


def test_check_port_connection_timeout(orchestrator: Orchestrator) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        # A backlog that is full: the kernel answers nobody else.
        waiting = [socket.socket() for _ in range(4)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        assert not orchestrator._check_port_connection(port)
        for client in waiting:
            client.close()


def test_comfyui_exit_42_without_orchestrator_just_ends(workspace: Workspace) -> None:
    workspace.write_script("main", 42)
    main = workspace.comfyui("main") / "main.py"
    with ChildProcess([sys.executable, str(main)]) as child:
        assert child.wait(60) == 42
    assert len(workspace.starts("main")) == 1


def test_orchestrator_preserves_environment_across_restarts(workspace: Workspace) -> None:
    workspace.write_script("main", 42, 42, 0)
    with RunningSupervisor(workspace, "main") as supervisor:
        supervisor.join()
    pythons = {str(start["python"]) for start in workspace.starts("main")}
    assert len(pythons) == 1
    assert workspace.starts("other") == []


def test_syncs_before_the_start_and_on_each_restart(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    starts_before: list[int] = []
    synchronise = Orchestrator._sync_environment

    def record(orchestrator: Orchestrator, name: str) -> None:
        starts_before.append(len(workspace.starts("main")))
        synchronise(orchestrator, name)

    monkeypatch.setattr(Orchestrator, "_sync_environment", record)
    workspace.write_script("main", 42, 42, 0)
    with RunningSupervisor(workspace, "main") as supervisor:
        assert supervisor.join() == 0
    assert starts_before == [0, 1, 2]


def test_supervised_flag_prevents_nested_orchestrators(workspace: Workspace) -> None:
    assert not should_spawn_orchestrator_for_switch(workspace.metadata, environment={"COMFYGIT_SUPERVISED": "1"})


def test_spawn_on_switch_not_on_restart(workspace: Workspace) -> None:
    workspace.write_script("main", 42, "stay")
    with RunningSupervisor(workspace, "main") as supervisor:
        supervisor.wait_for_state("ready")
        assert workspace.starts("other") == []
        write_switch_request(workspace.metadata, "other")
        workspace.end("main", 43)
        supervisor.switch_states("complete")
    assert len(workspace.starts("other")) == 1
