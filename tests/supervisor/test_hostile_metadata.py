"""State files that are something else, disks that cannot be written, and supervisors that are stopped or doubled."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from comfywatchman.base.clock import SystemClock
from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.server.listening import find_free_port
from comfywatchman.supervisor.status import read_status
from tests.supervisor.orchestrator_program import build_workspace, find_processes, start_program
from tests.supervisor.programs import wait_until
from tests.supervisor.workspaces import RunningSupervisor, Workspace

pytestmark = pytest.mark.slow

LOCKS = (".supervisor.lock", ".switch.flock")
NAMES = (
    *LOCKS,
    "supervisor_status.json",
    ".orchestrator.pid",
    ".orchestrator.heartbeat",
    ".switch_status.json",
    ".switch_request.json",
    ".switch.lock",
    ".cmd",
    ".startup_state.json",
    ".control_port",
    ".control_token",
    "comfyui_process.json",
    ".comfyui_guard.json",
    "comfyui.log",
    "comfyui.1.log",
    "guard.log",
    "incidents",
)
CLOCK = SystemClock()


def make_sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 30)


KINDS: dict[str, Callable[[Path, Path], object]] = {
    "fifo": lambda path, _victim: os.mkfifo(path),
    "symlink": lambda path, victim: path.symlink_to(victim),
    "dangling": lambda path, victim: path.symlink_to(victim.with_name("absent")),
    "folder": lambda path, _victim: path.mkdir(),
    "sparse": lambda path, _victim: make_sparse(path),
    "unicode": lambda path, _victim: path.write_text('{"pid": "\u202e\ud7ff💥", "state": "ready"}' * 50),
}


def is_refused(kind: str, name: str) -> bool:
    """Return whether a file cannot be replaced: a lock that is not a regular file, or a folder in its place."""
    return kind == "folder" or (name in LOCKS and kind in {"symlink", "dangling", "fifo"})


def list_cases() -> Iterator[object]:
    """Yield each kind and name; those that a supervisor starts with are in the torture suite one by one."""
    for kind in KINDS:
        for name in NAMES:
            marks = [] if is_refused(kind, name) else [pytest.mark.torture]
            yield pytest.param(kind, name, marks=marks, id=f"{kind}-{name}")


@pytest.mark.parametrize(("kind", "name"), list(list_cases()))
def test_state_file_that_is_something_else(tmp_path: Path, kind: str, name: str) -> None:
    workspace, victim = Workspace(tmp_path / "ws", "main"), tmp_path / "victim"
    victim.write_text("root:x:0:0")
    KINDS[kind](workspace.metadata / name, victim)
    assert supervise(workspace) in ({None, "state-unwritable"} if is_refused(kind, name) else {None})
    assert victim.read_text() == "root:x:0:0"
    assert not victim.with_name("absent").exists()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "folder"])
def test_all_state_files_that_are_something_else(tmp_path: Path, kind: str) -> None:
    workspace, victim = Workspace(tmp_path / "ws", "main"), tmp_path / "victim"
    victim.write_text("root:x:0:0")
    for name in NAMES:
        if not is_refused(kind, name):
            KINDS[kind](workspace.metadata / name, victim)
    assert supervise(workspace) is None
    assert victim.read_text() == "root:x:0:0"
    assert not victim.with_name("absent").exists()


def supervise(workspace: Workspace) -> str | None:
    """Supervise until ComfyUI is up; return the code of the failure that ended it instead."""
    try:
        supervisor = RunningSupervisor(workspace, "main")
    except Failure as failure:
        return failure.code
    with supervisor:
        up = workspace.comfyui("main") / "up"
        supervisor.wait_for(
            lambda: (
                supervisor.result is not None
                or read_state(workspace) == "ready"
                # A folder in the place of the status cannot be replaced; ComfyUI runs all the same.
                or (up.exists() and (workspace.metadata / "supervisor_status.json").is_dir())
            )
        )
        if isinstance(supervisor.result, Failure):
            return supervisor.result.code
        assert supervisor.result is None
    return None


def read_state(workspace: Workspace) -> str:
    status = read_status(workspace.metadata, CLOCK)
    return "" if status is None else status.state.value


@contextlib.contextmanager
def mounted(folder: Path) -> Iterator[Path]:
    """Mount a small file system in memory."""
    folder.mkdir(parents=True)
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], check=False)
    if mount.returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_comfyui_goes_on_when_the_disk_is_full(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "ws", "main", "other")
    workspace.metadata.rmdir()
    with mounted(workspace.metadata) as folder, RunningSupervisor(workspace, "main") as supervisor:
        supervisor.wait_for_state("ready")
        pid = supervisor.status()["pid"]
        with contextlib.suppress(OSError), (folder / "filler").open("wb") as filler:
            filler.write(b"x" * (1 << 20))
        # It crashes while no incident, no log and no status can be written.
        workspace.end("main", 1)
        assert isinstance(pid, int)
        assert wait_until(lambda: not Path(f"/proc/{pid}").exists())
        assert supervisor.result is None
        (folder / "filler").unlink()
        supervisor.wait_for(lambda: supervisor.status().get("state") in {"ready", "gave_up"})
        assert supervisor.result is None


def test_stopped_supervisor_is_not_believed_and_a_second_one_refused(tmp_path: Path) -> None:
    workspace = build_workspace(tmp_path / "ws", "main")
    port, log = find_free_port(), tmp_path / "log"
    first = start_program(workspace.root, port, "first", log)
    try:
        assert wait_until(lambda: read_state(workspace) == "ready"), log.read_text()
        second = start_program(workspace.root, port, "second", log)
        assert second.wait(60) == 3
        assert "lock-held" in log.read_text()
        assert read_state(workspace) == "ready"
        first.send_signal(signal.SIGSTOP)
        status = read_status(workspace.metadata, LaterClock())
        assert status is not None
        assert (status.state.value, status.pid) == ("unproven", None)
        first.send_signal(signal.SIGCONT)
        first.send_signal(signal.SIGHUP)
        assert first.wait(60) == 0
        assert wait_until(lambda: find_processes(workspace.root) == {})
    finally:
        first.kill()
        first.wait()


class LaterClock(SystemClock):
    """The clock 61 seconds later, so that nobody has to wait for it."""

    def boottime(self) -> float:
        return super().boottime() + 61
