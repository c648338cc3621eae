"""A real ComfyUI under supervision: started, proved, restarted, killed, switched and stopped."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from comfywatchman.supervisor.health_policy import HealthLimits
from comfywatchman.supervisor.incidents import list_incidents
from comfywatchman.supervisor.mailbox import CommandName, write_command, write_switch_request
from comfywatchman.supervisor.monitor import MonitorPace
from comfywatchman.supervisor.probes import ComfyProbes
from comfywatchman.supervisor.process.child import StopLimits
from comfywatchman.supervisor.settings import SupervisorSettings
from scripts.real_comfyui import Installed
from tests.supervisor.programs import is_running
from tests.supervisor.workspaces import RunningSupervisor, Workspace

pytestmark = pytest.mark.real_comfyui

SETTINGS = replace(
    SupervisorSettings(),
    pace=MonitorPace(startup=0.3, idle=1.0, canary=3.0, canary_retry=1.0),
    health=HealthLimits(silence=20.0),
    stop=StopLimits(interrupt=10.0, terminate=5.0, kill=5.0),
    success_seconds=20.0,
)
PATIENCE = 180.0


@pytest.fixture
def workspace(tmp_path: Path, real_comfyui_installed: Installed) -> Workspace:
    workspace = Workspace(tmp_path / "ws")
    for name in ("main", "other"):
        folder = workspace.comfyui(name)
        folder.parent.mkdir(parents=True)
        folder.symlink_to(real_comfyui_installed.tree)
        python = folder.parent / ".venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\nexec "{real_comfyui_installed.python}" "$@"\n')
        python.chmod(0o755)
    return workspace


@pytest.fixture
def supervisor(workspace: Workspace, tmp_path: Path, real_comfyui_installed: Installed) -> Iterator[RunningSupervisor]:
    base = tmp_path / "base"
    for name in ("models", "custom_nodes", "input", "output", "user"):
        (base / name).mkdir(parents=True)
    front_end = real_comfyui_installed.front_end
    arguments = [
        "--cpu",
        "--listen=127.0.0.1",
        f"--base-directory={base}",
        f"--database-url=sqlite:///{base / 'user' / 'comfyui.db'}",
        *([f"--front-end-root={front_end}"] if front_end else []),
    ]
    supervisor = RunningSupervisor(workspace, "main", tuple(arguments), SETTINGS, probes=ComfyProbes)
    with supervisor:
        yield supervisor
    shutil.rmtree(base, ignore_errors=True)


def test_supervised_life_of_a_real_comfyui(supervisor: RunningSupervisor, workspace: Workspace) -> None:
    supervisor.wait_for_state("ready", timeout_seconds=PATIENCE)
    first = int(str(supervisor.status()["pid"]))

    # The test prompt leaves no file.
    base = workspace.root.parent / "base"
    assert [path for path in (base / "output").rglob("*") if path.is_file()] == []

    write_command(workspace.metadata, CommandName.RESTART)
    supervisor.wait_for(lambda: supervisor.status().get("pid") not in {None, first}, timeout_seconds=PATIENCE)
    supervisor.wait_for_state("ready", timeout_seconds=PATIENCE)
    second = int(str(supervisor.status()["pid"]))
    assert not is_running(first)
    assert list_incidents(workspace.metadata) == ()

    os.kill(second, signal.SIGKILL)
    supervisor.wait_for(lambda: supervisor.status().get("pid") not in {None, second}, timeout_seconds=PATIENCE)
    supervisor.wait_for_state("ready", timeout_seconds=PATIENCE)
    assert [incident.exit_status for incident in list_incidents(workspace.metadata)] == [-9]

    write_command(workspace.metadata, CommandName.SWITCH, target_env="other")
    supervisor.switch_states("complete", timeout_seconds=PATIENCE)
    supervisor.wait_for_state("ready", timeout_seconds=PATIENCE)
    assert supervisor.status()["environment"] == "other"

    last = int(str(supervisor.status()["pid"]))
    supervisor.stop()
    assert supervisor.join() == 0
    assert not is_running(last)


def test_stopped_process_is_found_to_hang_and_is_replaced(supervisor: RunningSupervisor, workspace: Workspace) -> None:
    supervisor.wait_for_state("ready", timeout_seconds=PATIENCE)
    pid = int(str(supervisor.status()["pid"]))
    # A process that the kernel does not run is the hang that no signal handler of its own can mend.
    os.kill(pid, signal.SIGSTOP)
    supervisor.wait_for(lambda: supervisor.status().get("pid") not in {None, pid}, timeout_seconds=PATIENCE + 120)
    supervisor.wait_for_state("ready", timeout_seconds=PATIENCE)
    (incident,) = list_incidents(workspace.metadata)
    assert (incident.kind, incident.environment) == ("killed", "main")
    assert not is_running(pid)


def test_broken_environment_is_rolled_back_and_proved(supervisor: RunningSupervisor, workspace: Workspace) -> None:
    python = workspace.comfyui("other").parent / ".venv" / "bin" / "python"
    python.write_text("#!/bin/sh\necho no torch >&2\nexit 1\n")
    supervisor.wait_for_state("ready", timeout_seconds=PATIENCE)
    write_switch_request(workspace.metadata, "other")
    write_command(workspace.metadata, CommandName.SWITCH, target_env="other")
    supervisor.switch_states("rolled_back", timeout_seconds=PATIENCE)
    supervisor.wait_for_state("ready", timeout_seconds=PATIENCE)
    assert supervisor.status()["environment"] == "main"
