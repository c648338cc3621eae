"""Environments whose main.py is the misbehaving double of ComfyUI, and a witness of what the supervisor claims."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from comfywatchman.base.clock import SystemClock
from comfywatchman.supervisor.health_policy import HealthLimits
from comfywatchman.supervisor.monitor import MonitorPace
from comfywatchman.supervisor.probes import ComfyProbes
from comfywatchman.supervisor.process.foreign import WatchedProcess
from comfywatchman.supervisor.restart_policy import RestartPolicy
from comfywatchman.supervisor.settings import SupervisorSettings
from comfywatchman.supervisor.status import read_status
from tests.supervisor.orchestrator_program import CHECKOUT
from tests.supervisor.programs import wait_until
from tests.supervisor.workspaces import QUICK, RunningSupervisor, Workspace

DOUBLE_MAIN = f"""
import json, os, sys, threading, time
from pathlib import Path
folder = Path(__file__).parent
with open(folder / "starts.jsonl", "a") as starts:
    starts.write(json.dumps({{"pid": os.getpid()}}) + "\\n")
def read(name):
    try:
        return json.loads((folder / name).read_text())
    except (OSError, ValueError):
        return {{}}
number = len((folder / "starts.jsonl").read_text().splitlines())
start = read("start.json")
if "exit" in start:
    sys.exit(start["exit"])
end = time.monotonic() + start.get("seconds", 0)
while time.monotonic() < end:
    time.sleep(0.1)
    if start.get("prints"):
        print("loading", flush=True)
sys.path.insert(0, {str(CHECKOUT)!r})
from tests.servers.comfyui import FakeComfyUI
port = int(sys.argv[-1].rpartition("=")[2]) if "--port" in sys.argv[-1] else None
port = port or next(int(a.partition("=")[2]) for a in sys.argv if a.startswith("--port="))
with FakeComfyUI(port=port) as server:
    known, is_flooded = dict(vars(server.faults)), False
    while not server.leave.wait(0.2):
        wanted = read("faults.json")
        if wanted.get("start", number) != number:
            wanted = {{}}
        for name, value in {{**known, **{{k: v for k, v in wanted.items() if k in known}}}}.items():
            setattr(server.faults, name, set(value) if isinstance(known[name], set) else value)
        if wanted.get("prints"):
            print("x" * 1000, flush=True)
        if wanted.get("floods") and not is_flooded:
            server.send_bytes(b"x" * 16_000_000)
            is_flooded = True
        (folder / "applied.tmp").write_text(json.dumps(wanted))
        (folder / "applied.tmp").replace(folder / "applied.json")
        spins_until = time.monotonic() + 0.2
        while (server.running_id or wanted.get("spins")) and time.monotonic() < spins_until:
            pass
        if not wanted.get("dead_worker"):
            server.wake()
        if "exit" in wanted:
            (folder / "faults.json").unlink()
            os._exit(wanted["exit"])
"""
"""It applies `faults.json` while it runs, and `start.json` before it listens."""
PROOF_SECONDS = 4.0
SETTINGS = replace(
    QUICK,
    restarts=RestartPolicy(backoff_first_seconds=0.05, backoff_max_seconds=0.1),
    health=HealthLimits(
        startup_progress=30.0, startup=120, steady_answers=3, steady=0.1, proof=PROOF_SECONDS, silence=12.0
    ),
    pace=MonitorPace(startup=0.1, idle=1.0, canary=0.5, canary_retry=0.2),
)
CLOCK = SystemClock()
EVERYTHING = ("/prompt", "/system_stats", "/queue", "/history", "/object_info", "/ws", "/interrupt")


class MisbehavingWorkspace(Workspace):
    """A workspace with one environment, `main`, that misbehaves on demand."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, "main")
        (self.comfyui("main") / "main.py").write_text(DOUBLE_MAIN)

    def set_faults(self, **faults: Any) -> None:
        """Let the running server misbehave from now on."""
        self._write("faults.json", faults)

    def break_server(self, **faults: Any) -> None:
        """Let the running server misbehave, but none that is started after it; wait until it does."""
        wanted = {**faults, "start": len(self.starts("main"))}
        self.set_faults(**wanted)
        applied = self.comfyui("main") / "applied.json"
        assert wait_until(lambda: applied.exists() and json.loads(applied.read_text()) == wanted)

    def set_start(self, **facts: Any) -> None:
        """Let the next starts misbehave: `exit`, `seconds`, `prints`."""
        self._write("start.json", facts)

    def _write(self, name: str, content: object) -> None:
        path = self.comfyui("main") / name
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(content))
        temporary.replace(path)


@dataclass
class Witness:
    """Reads the status as others do, and counts each READY that was published long after the server had broken.

    Attributes:
        metadata: The folder of the status.
        false_ready: Such statuses.
        states: The states and reasons in the order in which they were seen.
    """

    metadata: Path
    false_ready: list[str] = field(default_factory=list)
    states: list[tuple[str, str]] = field(default_factory=list)
    _broken_since: float | None = None
    _broken_pid: object = None

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def note_broken(self, pid: object = None) -> None:
        """Note that nothing the server does is right from now on; without its pid, nothing that any server does."""
        self._broken_pid = pid
        self._broken_since = CLOCK.boottime()

    def note_repaired(self) -> None:
        """Note that it works again, or that another one was started."""
        self._broken_since = None

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            broken_since = self._broken_since
            status = read_status(self.metadata, CLOCK)
            if status is None:
                continue
            seen = (status.state.value, status.reason)
            if not self.states or self.states[-1] != seen:
                self.states.append(seen)
            # A test prompt may have been on its way. What counts is when the status was written: one that is there for
            # longer, because the supervisor was held up, is no new claim.
            if broken_since is None or status.looked_at_seconds is None or status.state != "ready":
                continue
            is_late = status.looked_at_seconds - broken_since > PROOF_SECONDS + 2.0
            if is_late and broken_since == self._broken_since and self._broken_pid in {None, status.pid}:
                self.false_ready.append(str(status))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if kind is None:
            assert self.false_ready == []


def build_probes(process: WatchedProcess) -> ComfyProbes:
    return ComfyProbes(process, canary_seconds=5.0, events_seconds=2.0)


def supervise(workspace: Workspace, settings: SupervisorSettings = SETTINGS) -> RunningSupervisor:
    return RunningSupervisor(workspace, "main", settings=settings, probes=build_probes)
