"""A supervisor after one that was killed, and on disks that cannot be written."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from comfywatchman.base.clock import SystemClock, format_utc
from comfywatchman.base.lock import hold_lock
from comfywatchman.comfyui.server.listening import find_free_port
from comfywatchman.supervisor.mailbox import (
    CommandName,
    SwitchState,
    discard_old_command,
    read_switch_status,
    take_command,
    write_command,
    write_switch_status,
)
from comfywatchman.supervisor.monitor import MonitorPace
from comfywatchman.supervisor.process.child import SupervisedProcess
from comfywatchman.supervisor.process.launcher import build_start
from comfywatchman.supervisor.run import ComfyRun
from comfywatchman.supervisor.states import SupervisorState
from comfywatchman.supervisor.status import LOCK_NAME, SupervisorStatus, read_status, write_status
from comfywatchman.supervisor.workspace import ComfygitWorkspace
from tests.fakes import FakeClock
from tests.supervisor.orchestrator_program import build_workspace, find_processes, start_program
from tests.supervisor.programs import FAMILY, STUBBORN, is_running, read_pids, supervised, wait_until
from tests.supervisor.workspaces import QUICK, FolderProbes, RunningSupervisor, Workspace

CLOCK = SystemClock()


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    root = tmp_path / "ws"
    yield build_workspace(root, "main", "other")
    for pid in find_processes(root):
        os.kill(pid, signal.SIGKILL)


def build_ready(clock: FakeClock) -> SupervisorStatus:
    return SupervisorStatus(
        state=SupervisorState.READY,
        looked_at=format_utc(clock.now()),
        since=format_utc(clock.now()),
        port=8188,
        supervisor_pid=os.getpid(),
        boot_id=clock.boot_id(),
        looked_at_seconds=clock.boottime(),
    )


def read_state(metadata: Path, clock: FakeClock) -> str:
    status = read_status(metadata, clock)
    assert status is not None
    return status.state.value


def is_state(workspace: Workspace, state: str) -> bool:
    status = read_status(workspace.metadata, CLOCK)
    return status is not None and status.state == state


@pytest.mark.slow
def test_follower_does_not_adopt_the_dying_one(workspace: Workspace) -> None:
    port = find_free_port()
    first = start_program(workspace.root, port, "first", workspace.root / "log")
    try:
        assert wait_until(lambda: is_state(workspace, "ready"))
    finally:
        first.kill()
        first.wait()
    # ComfyUI ends with status 0 now, which would end a supervisor that had adopted it.
    second = start_program(workspace.root, port, "second", workspace.root / "log")
    try:
        assert wait_until(lambda: is_state(workspace, "ready")), (workspace.root / "log").read_text()
        assert find_processes(workspace.root, "--mark=first") == {}
    finally:
        second.terminate()
        assert second.wait(60) == 0


@pytest.mark.slow
@pytest.mark.parametrize("code", [FAMILY.format(then="time.sleep(600)"), STUBBORN])
def test_process_that_is_not_kept_is_never_adopted(tmp_path: Path, code: str) -> None:
    with supervised(tmp_path, code) as process:
        assert wait_until(lambda: process.count_log_bytes() > 0)
        assert SupervisedProcess.adopt(tmp_path / "run", boot_id=CLOCK.boot_id()) is None
        assert not is_running(process.leader)
        if "pids" in code:
            assert not any(is_running(pid) for pid in read_pids(process.log))


@pytest.mark.slow
def test_kept_process_of_an_unfinished_switch_is_stopped(workspace: Workspace) -> None:
    port, log = find_free_port(), workspace.root / "log"
    ComfygitWorkspace(workspace.root).activate("other")
    first = start_program(workspace.root, port, "first", log, "keep")
    assert wait_until(lambda: is_state(workspace, "ready")), log.read_text()
    first.kill()
    first.wait()
    assert find_processes(workspace.root, "--mark=first")
    ComfygitWorkspace(workspace.root).activate("main")
    write_switch_status(workspace.metadata, SwitchState.VALIDATING, 85, "Waiting.", target_env="other")
    second = start_program(workspace.root, port, "second", log)
    try:
        assert wait_until(lambda: is_state(workspace, "ready")), log.read_text()
        assert find_processes(workspace.root, "--mark=first") == {}
        status = read_switch_status(workspace.metadata)
        assert status is not None
        assert status.message == "The supervisor ended during the switch; 'main' is started."
    finally:
        second.terminate()
        second.wait(60)


def test_only_an_old_command_is_discarded(metadata: Path) -> None:
    clock = FakeClock()
    write_command(metadata, CommandName.SHUTDOWN, clock=clock)
    assert discard_old_command(metadata, limit_seconds=60, clock=clock) is None
    clock.advance(awake=61)
    discarded = discard_old_command(metadata, limit_seconds=60, clock=clock)
    assert discarded is not None
    assert discarded.command is CommandName.SHUTDOWN
    assert take_command(metadata) is None
    assert discard_old_command(metadata, limit_seconds=60, clock=clock) is None


@pytest.mark.slow
def test_old_shutdown_does_not_end_a_new_supervisor(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "ws", "main")
    command = write_command(workspace.metadata, CommandName.SHUTDOWN)
    old = msgspec.structs.replace(command, timestamp=command.timestamp - 3600)
    (workspace.metadata / ".cmd").write_bytes(msgspec.json.encode(old))
    with RunningSupervisor(workspace, "main") as supervisor:
        supervisor.wait_for_state("ready")
        assert not (workspace.metadata / ".cmd").exists()


@pytest.mark.parametrize("seconds", [-3600.0, 3600.0])
def test_clock_that_is_set_does_not_make_a_status_believed(metadata: Path, seconds: float) -> None:
    clock = FakeClock()
    with hold_lock(metadata / LOCK_NAME, command="supervise run", clock=clock):
        write_status(metadata, build_ready(clock))
        clock.shift_wall(seconds)
        assert read_state(metadata, clock) == "ready"
        clock.advance(awake=61)
        assert read_state(metadata, clock) == "unproven"


def test_status_of_a_killed_supervisor_is_not_the_next_ones(metadata: Path) -> None:
    clock = FakeClock()
    with hold_lock(metadata / LOCK_NAME, command="supervise run", clock=clock):
        write_status(metadata, msgspec.structs.replace(build_ready(clock), supervisor_pid=os.getppid()))
        status = read_status(metadata, clock)
        assert status is not None
        assert status.state is SupervisorState.UNPROVEN
        assert "The supervisor has just started" in status.sentence
        write_status(metadata, build_ready(clock))
        assert read_state(metadata, clock) == "ready"


def test_status_from_before_a_sleep_or_a_reboot_is_unproven(metadata: Path) -> None:
    clock = FakeClock()
    with hold_lock(metadata / LOCK_NAME, command="supervise run", clock=clock):
        write_status(metadata, build_ready(clock))
        clock.advance(asleep=61)
        assert read_state(metadata, clock) == "unproven"
        write_status(metadata, build_ready(clock))
        assert read_state(metadata, clock) == "ready"
        clock.reboot()
        assert read_state(metadata, clock) == "unproven"


class SleepyClock(SystemClock):
    """The clock of this machine, which a test lets sleep."""

    slept_seconds = 0.0

    def boottime(self) -> float:
        return super().boottime() + self.slept_seconds


@pytest.mark.slow
def test_proof_from_before_a_sleep_counts_at_no_moment(tmp_path: Path) -> None:
    workspace, clock = Workspace(tmp_path / "ws", "main"), SleepyClock()
    settings = replace(QUICK, port=find_free_port(), pace=MonitorPace(startup=0.05, idle=600.0, canary=600.0))
    environments = ComfygitWorkspace(workspace.root)
    command = build_start(environments.get("main"), workspace.metadata, port=settings.port, arguments=())
    process = SupervisedProcess.start(
        command, workspace.metadata, boot_id=clock.boot_id(), now_seconds=clock.boottime(), is_kept=False
    )
    folder = workspace.comfyui("main")
    log = logging.getLogger("test")
    run = ComfyRun(process, lambda _process: FolderProbes(process, folder), settings, clock, log)
    try:
        assert wait_until(lambda: run.judge().state is SupervisorState.READY)
        # The next look is ten minutes away.
        clock.slept_seconds = 3600.0
        assert run.judge().state is SupervisorState.UNPROVEN
    finally:
        run.stop(settings.stop)
        run.close()
