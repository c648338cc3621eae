"""kill -9 of a supervisor at any moment: nothing of its tree is left, and the next one goes on from what is on disk."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from comfywatchman.base.clock import SystemClock
from comfywatchman.base.lock import read_holder
from comfywatchman.comfyui.server.listening import find_free_port
from comfywatchman.supervisor.lock import is_switch_locked
from comfywatchman.supervisor.mailbox import FINAL_SWITCH_STATES, CommandName, read_switch_status, write_command
from comfywatchman.supervisor.status import LOCK_NAME, SupervisorStatus, read_status
from tests.mutation import repeatable
from tests.supervisor.orchestrator_program import build_workspace, find_processes, start_program
from tests.supervisor.programs import wait_until
from tests.supervisor.workspaces import Workspace

KILLS = int(os.environ.get("SUPERVISOR_KILLS", "200"))
LIMIT_SECONDS = 2.0
START_SECONDS = 60.0
"""How long Python may take to start on a machine with other work."""
CLOCK = SystemClock()


@dataclass
class KillRun:
    """A chain of supervisors of one workspace, each killed and followed by the next one.

    Attributes:
        workspace: The workspace.
        rng: Chooses the moments.
        left_seconds: After which time nothing was left of each killed supervisor.
        switches: How many were killed during a switch.
        limit_seconds: After which time nothing may be left.
    """

    workspace: Workspace
    rng: random.Random
    port: int = field(default_factory=find_free_port)
    number: int = 0
    left_seconds: list[float] = field(default_factory=list)
    switches: int = 0
    limit_seconds: float = LIMIT_SECONDS
    program: subprocess.Popen[bytes] | None = None

    @property
    def mark(self) -> str:
        return f"mark{self.number:04}."

    @property
    def log(self) -> Path:
        return self.workspace.root / "program.log"

    def start(self) -> subprocess.Popen[bytes]:
        """Start the next supervisor."""
        self.number += 1
        self.program = start_program(self.workspace.root, self.port, self.mark, self.log)
        return self.program

    def status(self) -> SupervisorStatus | None:
        return read_status(self.workspace.metadata, CLOCK)

    def is_ready(self) -> bool:
        """Return whether this very supervisor reports a ComfyUI that is proved ready."""
        status = self.status()
        return status is not None and status.state == "ready" and status.supervisor_pid == self.living().pid

    def living(self) -> subprocess.Popen[bytes]:
        assert self.program is not None
        return self.program

    def expect(self, condition: object, what: str) -> None:
        assert condition, f"{what}\n{self.number}: {self.status()}\n{self.log.read_text()[-3000:]}"

    def kill(self) -> None:
        """Kill the supervisor at a moment that is drawn by chance."""
        program = self.living()
        moment = self.rng.choice(["start", "ready", "switch", "switch", "switch", "restart", "stop"])
        if moment == "start":
            time.sleep(self.rng.uniform(0, 1.5))
        else:
            self.expect(wait_until(self.is_ready, timeout_seconds=60), "never ready")
            self.begin(moment)
        status = read_switch_status(self.workspace.metadata)
        self.switches += status is not None and status.state not in FINAL_SWITCH_STATES
        program.kill()
        program.wait()

    def begin(self, moment: str) -> None:
        """Begin what the kill interrupts, and wait for a part of it."""
        metadata = self.workspace.metadata
        if moment == "switch":
            other = {"main": "other", "other": "main"}[self.running_environment()]
            write_command(metadata, CommandName.SWITCH, target_env=other)
        elif moment == "restart":
            self.workspace.end(self.running_environment(), self.rng.choice([42, 1]))
        elif moment == "stop":
            self.living().send_signal(self.rng.choice([signal.SIGTERM, signal.SIGINT, signal.SIGHUP]))
        time.sleep(self.rng.uniform(0, 3.0 if moment == "switch" else 0.7))

    def running_environment(self) -> str:
        status = self.status()
        assert status is not None
        assert status.environment is not None
        return status.environment

    def check_nothing_is_left(self, mark: str, killed_at: float) -> None:
        """Check that soon no process of a killed supervisor is left."""
        while left := find_processes(self.workspace.root, mark):
            if time.monotonic() - killed_at > self.limit_seconds:
                break
            time.sleep(0.02)
        self.left_seconds.append(time.monotonic() - killed_at)
        self.expect(not left, f"left after {self.limit_seconds} s: {left}")

    def is_locked(self) -> bool:
        holder = read_holder(self.workspace.metadata / LOCK_NAME)
        return holder is not None and holder.pid == self.living().pid

    def check_recovery(self) -> None:
        """Check that the next supervisor runs the environment in use, or that a switch ended with a final status."""
        metadata, program = self.workspace.metadata, self.living()
        # Nobody else holds the lock: it is taken without waiting, or the program ends.
        is_begun = wait_until(lambda: self.is_locked() or program.poll() is not None, timeout_seconds=START_SECONDS)
        self.expect(is_begun, "lock not taken")
        self.expect(wait_until(lambda: self.is_ready() or program.poll() is not None, timeout_seconds=60), "not ready")
        self.expect(program.poll() is None, "the next supervisor ended")
        # It may carry out a command that the killed one did not take, and then shows its success for a moment.
        is_unlocked = wait_until(lambda: not is_switch_locked(metadata) and self.is_ready(), timeout_seconds=60)
        self.expect(is_unlocked, "switch still locked")
        switch = read_switch_status(metadata)
        self.expect(switch is None or switch.state in FINAL_SWITCH_STATES, f"unfinished switch {switch}")
        status = self.status()
        self.expect(status is not None and status.pid is not None, "no process")
        assert status is not None
        folder = os.readlink(f"/proc/{status.pid}/cwd")
        self.expect(folder == str(self.workspace.comfyui(str(status.environment))), f"another folder: {folder}")
        self.expect(status.environment == self.read_active(), "not the active environment")
        servers = [pid for pid, command in find_processes(self.workspace.root).items() if "main.py --mark" in command]
        self.expect(len([pid for pid in servers if is_server(pid)]) == 1, f"several servers: {servers}")

    def read_active(self) -> str:
        path = self.workspace.metadata / "workspace.json"
        return str(json.loads(path.read_text())["active_environment"]) if path.exists() else "main"

    def run(self, kills: int) -> None:
        """Kill supervisors one after the other."""
        self.start()
        for _turn in range(kills):
            mark = self.mark
            self.kill()
            killed_at = time.monotonic()
            is_followed_at_once = self.rng.random() < 0.5
            if is_followed_at_once:
                self.start()
            # Nothing at all may be left, unless the next one has begun.
            self.check_nothing_is_left(mark if is_followed_at_once else "", killed_at)
            if not is_followed_at_once:
                self.start()
            if self.rng.random() < 0.7:
                self.check_recovery()
        self.check_recovery()


def is_server(pid: int) -> bool:
    """Return whether a process is a ComfyUI, and not its guard."""
    try:
        return b"guard.py" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[KillRun]:
    run = KillRun(build_workspace(tmp_path / "ws", "main", "other"), repeatable(9))
    (run.workspace.comfyui("other") / "delay").write_text("0.3")
    yield run
    if run.program is not None:
        run.program.kill()
        run.program.wait()
    wait_until(lambda: not find_processes(run.workspace.root))


@pytest.mark.slow
def test_killed_supervisor_leaves_nothing_and_is_followed(chain: KillRun) -> None:
    # A few kills beside other tests: the two seconds are measured on a machine without them.
    chain.limit_seconds = 60.0
    chain.run(4)


@pytest.mark.torture
def test_many_kills_of_the_supervisor(chain: KillRun) -> None:
    chain.run(KILLS)
    print(  # noqa: T201 - the figures of docs/measurements.md
        f"{KILLS} kills, {chain.switches} during a switch; last process gone after at most "
        f"{max(chain.left_seconds):.2f} s"
    )
