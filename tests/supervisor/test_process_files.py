"""The recorded orchestrator, with real processes: alive, dead, a zombie, and strangers that have its pid now."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import orjson
import pytest

from comfywatchman.base.clock import SystemClock
from comfywatchman.base.process import read_process_identity
from comfywatchman.supervisor.process_files import (
    Heartbeat,
    cleanup_control_files,
    cleanup_orchestrator_pid,
    find_orchestrator,
    is_heartbeat_fresh,
    is_running,
    read_control_port,
    read_control_token,
    read_heartbeat,
    read_orchestrator_pid,
    read_startup_state,
    write_control_port,
    write_control_token,
    write_heartbeat,
    write_orchestrator_pid,
    write_startup_state,
)
from tests.fakes import FakeClock
from tests.supervisor.workspace_builders import StateFileBuilder


@contextlib.contextmanager
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as child:
        yield child
        child.kill()


def test_write_orchestrator_pid(metadata: Path) -> None:
    write_orchestrator_pid(metadata)
    assert int((metadata / ".orchestrator.pid").read_text()) == os.getpid()


def test_read_orchestrator_pid(metadata: Path, foreign: StateFileBuilder) -> None:
    foreign.write(".orchestrator.pid", b"12345")
    assert read_orchestrator_pid(metadata) == 12345


def test_read_missing_orchestrator_pid(metadata: Path) -> None:
    assert read_orchestrator_pid(metadata) is None
    assert find_orchestrator(metadata) is None


def test_cleanup_orchestrator_pid(metadata: Path) -> None:
    write_orchestrator_pid(metadata)
    cleanup_orchestrator_pid(metadata)
    cleanup_orchestrator_pid(metadata)
    assert list(metadata.iterdir()) == []


def test_write_startup_state(metadata: Path) -> None:
    write_startup_state(
        metadata,
        python_executable="/venv/bin/python",
        working_directory="/ws/environments/main/ComfyUI",
        argv=["--port", "8188"],
        environment_name="main",
        workspace_root="/ws",
        port=8188,
        variables={"HF_HOME": "/hf"},
        clock=FakeClock(),
    )
    path = metadata / ".startup_state.json"
    assert orjson.loads(path.read_bytes()) == {
        "python_executable": "/venv/bin/python",
        "working_directory": "/ws/environments/main/ComfyUI",
        "argv": ["--port", "8188"],
        "environment_name": "main",
        "workspace_root": "/ws",
        "port": 8188,
        "timestamp": FakeClock().wall.timestamp(),
        "variables": {"HF_HOME": "/hf"},
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_read_startup_state(metadata: Path, foreign: StateFileBuilder) -> None:
    content = {
        "timestamp": 1.5,
        "python_executable": "/p",
        "working_directory": "/w",
        "argv": ["main.py"],
        "environment_name": None,
        "workspace_root": "/ws",
        "port": 8188,
    }
    foreign.write(".startup_state.json", content)
    state = read_startup_state(metadata)
    assert state is not None
    assert (state.argv, state.port, state.variables) == (("main.py",), 8188, None)
    foreign.write(".startup_state.json", {**content, "port": 70000})
    assert read_startup_state(metadata) is None


def test_running_orchestrator_is_found(metadata: Path) -> None:
    write_orchestrator_pid(metadata)
    assert find_orchestrator(metadata) == read_process_identity(os.getpid(), boot_id=SystemClock().boot_id())


def test_foreign_orchestrator_is_found_by_its_pid_file(metadata: Path, foreign: StateFileBuilder) -> None:
    with sleeper() as child:
        foreign.write(".orchestrator.pid", b"%d" % child.pid)
        found = find_orchestrator(metadata)
        assert found is not None
        assert found.pid == child.pid


def test_reused_pid_is_not_the_orchestrator(metadata: Path, foreign: StateFileBuilder) -> None:
    with sleeper() as stranger:
        foreign.write(".orchestrator.pid", b"%d" % stranger.pid)
        own = write_heartbeat(metadata, uptime=1.0)
        # The heartbeat of the orchestrator that had this pid before.
        recorded = msgspec.structs.replace(own, pid=stranger.pid)
        foreign.write(".orchestrator.heartbeat", msgspec.to_builtins(recorded))
        assert find_orchestrator(metadata) is None


def test_reused_pid_is_younger_than_the_pid_file(metadata: Path, foreign: StateFileBuilder) -> None:
    with sleeper() as stranger:
        foreign.write(".orchestrator.pid", b"%d" % stranger.pid, age_seconds=60)
        assert find_orchestrator(metadata) is None


def test_orchestrator_of_an_earlier_boot_is_dead(metadata: Path) -> None:
    write_orchestrator_pid(metadata, clock=FakeClock())
    assert find_orchestrator(metadata, clock=FakeClock(boot="boot-2")) is None


def test_zombie_is_not_running(metadata: Path, foreign: StateFileBuilder) -> None:
    with sleeper() as child:
        identity = read_process_identity(child.pid, boot_id="")
        assert identity is not None
        assert is_running(identity)
        foreign.write(".orchestrator.pid", b"%d" % child.pid)
        os.kill(child.pid, signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert read_process_identity(child.pid, boot_id="") == identity
        assert not is_running(identity)
        assert find_orchestrator(metadata) is None
    assert not is_running(identity)


def test_process_of_another_user_counts_as_running(metadata: Path, foreign: StateFileBuilder) -> None:
    foreign.write(".orchestrator.pid", b"1")
    found = find_orchestrator(metadata)
    assert found is not None
    assert found.pid == 1


def test_heartbeat_goes_stale_with_waking_time_only() -> None:
    clock = FakeClock()
    heartbeat = Heartbeat(1, clock.now().timestamp(), 5.0, clock.boot_id(), 7, clock.monotonic())
    clock.advance(awake=30, asleep=3600)
    clock.shift_wall(-86400)
    assert is_heartbeat_fresh(heartbeat, clock=clock)
    clock.advance(awake=0.5)
    assert not is_heartbeat_fresh(heartbeat, clock=clock)


def test_heartbeat_of_another_boot_is_stale() -> None:
    clock = FakeClock()
    heartbeat = Heartbeat(1, clock.now().timestamp(), 5.0, clock.boot_id(), 7, clock.monotonic())
    clock.reboot(off_seconds=1)
    assert not is_heartbeat_fresh(heartbeat, clock=clock)


def test_foreign_heartbeat_is_judged_by_the_wall_clock(metadata: Path, foreign: StateFileBuilder) -> None:
    clock = FakeClock()
    foreign.write(".orchestrator.heartbeat", {"pid": 5, "timestamp": clock.now().timestamp(), "uptime": 3})
    heartbeat = read_heartbeat(metadata)
    assert heartbeat is not None
    clock.advance(awake=30)
    assert is_heartbeat_fresh(heartbeat, clock=clock)
    clock.advance(awake=1)
    assert not is_heartbeat_fresh(heartbeat, clock=clock)


def test_control_files_come_and_go(metadata: Path) -> None:
    write_control_port(metadata, 5050)
    write_control_token(metadata, "a" * 43)
    assert (metadata / ".control_port").read_text() == "5050\n"
    assert (read_control_port(metadata), read_control_token(metadata)) == (5050, "a" * 43)
    assert stat.S_IMODE((metadata / ".control_token").stat().st_mode) == 0o600
    cleanup_control_files(metadata)
    assert (read_control_port(metadata), read_control_token(metadata)) == (None, None)
    (metadata / ".control_port").write_text("65536")
    assert read_control_port(metadata) is None


@pytest.mark.slow
def test_first_heartbeat_is_written_before_the_pid_file(metadata: Path) -> None:
    code = (
        "import sys; from pathlib import Path;"
        "from comfywatchman.supervisor.process_files import write_orchestrator_pid;"
        "write_orchestrator_pid(Path(sys.argv[1]))"
    )
    environment = {**os.environ, "COMFYWATCHMAN_FAILPOINTS": "files.after_rename#1=kill"}
    subprocess.run([sys.executable, "-c", code, metadata], env=environment, check=False)
    assert [path.name for path in metadata.iterdir()] == [".orchestrator.heartbeat"]
