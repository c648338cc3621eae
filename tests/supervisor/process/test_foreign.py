from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from comfywatchman.base.clock import SystemClock
from comfywatchman.base.process import ChildProcess
from comfywatchman.comfyui.server.listening import find_free_port
from comfywatchman.supervisor.health_policy import PortState
from comfywatchman.supervisor.mailbox import CommandName, write_command
from comfywatchman.supervisor.monitor import CanaryOutcome, CanaryReport
from comfywatchman.supervisor.process.child import StopLimits
from comfywatchman.supervisor.process.foreign import ForeignProcess, WatchedProcess
from tests.supervisor.programs import is_running, wait_until
from tests.supervisor.workspaces import QUICK, FolderProbes, RunningSupervisor, Workspace

pytestmark = pytest.mark.slow

LISTENER = """
import socket, sys, time
listener = socket.socket()
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen()
print("up", flush=True)
time.sleep(600)
"""


class AlwaysReady(FolderProbes):
    """A server that is well while its process runs."""

    def find_port_state(self) -> PortState:
        return PortState.OURS if is_running(self.process.leader) else PortState.NOBODY

    def run_canary(self) -> CanaryReport:
        return CanaryReport(CanaryOutcome.RAN)


def start_by_hand(folder: Path, port: int, name: str = "main.py") -> ChildProcess:
    """Start a program as a person does."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(LISTENER)
    child = ChildProcess([sys.executable, str(folder / name), str(port)])
    assert wait_until(lambda: child.count_output_bytes() > 0)
    return child


def find(port: int, folder: Path) -> ForeignProcess | None:
    clock = SystemClock()
    return ForeignProcess.find(port, folder, environment="main", boot_id=clock.boot_id(), now_seconds=1.0)


def test_comfyui_on_the_port_is_found_and_never_stopped(tmp_path: Path) -> None:
    port = find_free_port()
    with start_by_hand(tmp_path, port) as child:
        process = find(port, tmp_path)
        assert process is not None
        assert process.leader == process.main_pid == child.pid
        assert process.stop(StopLimits()) is None
        assert is_running(child.pid)
        child.end(grace_seconds=60)
        assert process.wait(60) == 1
        process.release()


def test_other_program_on_the_port_is_not_taken_for_comfyui(tmp_path: Path) -> None:
    port = find_free_port()
    with start_by_hand(tmp_path, port, "other.py"):
        assert find(port, tmp_path) is None
    assert find(find_free_port(), tmp_path) is None


def test_foreign_comfyui_is_watched_then_replaced_by_our_own(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "ws", "main")
    settings = replace(QUICK, adopts_foreign=True)

    def build(process: WatchedProcess) -> FolderProbes:
        return AlwaysReady(process, workspace.comfyui("main"))

    supervisor = RunningSupervisor(workspace, "main", (), settings, probes=build)
    with start_by_hand(tmp_path / "hand", supervisor.orchestrator.settings.port) as child, supervisor:
        supervisor.wait_for_state("ready")
        assert supervisor.status()["pid"] == child.pid
        write_command(workspace.metadata, CommandName.RESTART)
        supervisor.wait_for(lambda: not (workspace.metadata / ".cmd").exists())
        assert is_running(child.pid)
        assert workspace.starts("main") == []
        child.end(grace_seconds=60)
        supervisor.wait_for(lambda: len(workspace.starts("main")) == 1)
    shutil.rmtree(tmp_path / "hand")


def test_end_of_the_supervisor_leaves_a_foreign_comfyui_alone(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "ws", "main")
    settings = replace(QUICK, adopts_foreign=True)
    supervisor = RunningSupervisor(
        workspace, "main", (), settings, probes=lambda process: AlwaysReady(process, workspace.root)
    )
    with start_by_hand(tmp_path / "hand", supervisor.orchestrator.settings.port) as child:
        with supervisor:
            supervisor.wait_for_state("ready")
            write_command(workspace.metadata, CommandName.SHUTDOWN)
            assert supervisor.join() == 0
        assert is_running(child.pid)
