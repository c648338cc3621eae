"""Workspaces with a stand-in for ComfyUI whose every start follows a script, and supervisors that run in a thread."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from comfywatchman.base.clock import Clock
from comfywatchman.supervisor.health_policy import HealthLimits, PortState
from comfywatchman.supervisor.loop import Orchestrator
from comfywatchman.supervisor.monitor import CanaryOutcome, CanaryReport, MonitorPace, QueueAnswer
from comfywatchman.supervisor.process.child import StopLimits
from comfywatchman.supervisor.process.foreign import WatchedProcess
from comfywatchman.supervisor.restart_policy import RestartPolicy
from comfywatchman.supervisor.run import ComfyRun, ProbeFactory
from comfywatchman.supervisor.settings import SupervisorSettings
from comfywatchman.supervisor.workspace import EnvironmentSet
from tests.supervisor.programs import open_this_process, wait_until

MAIN = """
import json, os, sys, time
from pathlib import Path
folder = Path(__file__).parent
with open(folder / "starts.jsonl", "a") as starts:
    facts = {"argv": sys.argv[1:], "supervised": os.environ.get("COMFYGIT_SUPERVISED"), "pid": os.getpid(),
             "python": sys.executable, "cwd": os.getcwd(), "gpus": os.environ.get("CUDA_VISIBLE_DEVICES")}
    starts.write(json.dumps(facts) + "\\n")
number = len((folder / "starts.jsonl").read_text().splitlines())
script = (folder / "script").read_text().split() if (folder / "script").exists() else []
print("started", number, flush=True)
step = script[number - 1] if number <= len(script) else "stay"
if step != "stay":
    time.sleep(0.05)
    raise SystemExit(int(step)) if int(step) >= 0 else os.kill(os.getpid(), -int(step))
(folder / "up").write_text(str(os.getpid()))
while not (folder / "exit").exists():
    time.sleep(0.02)
status = int((folder / "exit").read_text() or 0)
(folder / "exit").unlink()
raise SystemExit(status)
"""
QUICK = SupervisorSettings(
    restarts=RestartPolicy(backoff_first_seconds=0.05, backoff_max_seconds=0.1),
    health=HealthLimits(startup_progress=30, startup=120, steady_answers=3, steady=0.1),
    pace=MonitorPace(startup=0.05, idle=0.1, canary=0.3, canary_retry=0.05),
    stop=StopLimits(interrupt=2.0, terminate=1.0, kill=5.0),
    success_seconds=6.0,
)


class Workspace:
    """A comfygit workspace; `script` of an environment lists the exit status of each start, then `stay`."""

    def __init__(self, root: Path, *names: str) -> None:
        self.root = root
        self.metadata = root / ".metadata"
        self.metadata.mkdir(parents=True)
        for name in names:
            self.add(name)

    def add(self, name: str) -> None:
        """Add an environment."""
        folder = self.comfyui(name)
        folder.mkdir(parents=True)
        (folder / "main.py").write_text(MAIN)
        python = folder.parent / ".venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        # Not a link to the interpreter: it would then not know its own packages.
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)

    def comfyui(self, name: str) -> Path:
        """Return the folder of an environment's main.py."""
        return self.root / "environments" / name / "ComfyUI"

    def write_script(self, name: str, *steps: int | str) -> None:
        """Set the exit status of each start of an environment."""
        (self.comfyui(name) / "script").write_text(" ".join(map(str, steps)))

    def starts(self, name: str) -> list[dict[str, object]]:
        """Return the facts of each start of an environment."""
        path = self.comfyui(name) / "starts.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def end(self, name: str, status: int) -> None:
        """Let the running ComfyUI exit."""
        (self.comfyui(name) / "exit").write_text(str(status))

    def set_broken(self, name: str, *, broken: bool = True) -> None:
        """Let test prompts fail in an environment."""
        mark = self.comfyui(name) / "broken"
        mark.touch() if broken else mark.unlink(missing_ok=True)


@dataclass
class FolderProbes:
    """Answers by what the stand-in wrote into its folder."""

    process: WatchedProcess
    folder: Path

    def find_port_state(self) -> PortState:
        """Return whether this very process said that it is up."""
        try:
            is_up = int((self.folder / "up").read_text()) == self.process.main_pid
        except (OSError, ValueError):
            is_up = False
        return PortState.OURS if is_up else PortState.NOBODY

    def ask_stats(self) -> bool:
        """Return an answer."""
        return not (self.folder / "silent").exists()

    def ask_queue(self) -> QueueAnswer:
        """Return the length that the test set."""
        try:
            return QueueAnswer(int((self.folder / "queue").read_text()))
        except OSError:
            return QueueAnswer(0)

    def count_work(self) -> Hashable:
        """Return what the test counts."""
        try:
            return (self.folder / "work").read_text()
        except OSError:
            return self.process.count_log_bytes()

    def run_canary(self) -> CanaryReport:
        """Return whether the environment is broken."""
        if (self.folder / "broken").exists():
            return CanaryReport(CanaryOutcome.FAILED, reason="No image came.")
        return CanaryReport(CanaryOutcome.RAN)


@contextmanager
def watch_this_process(
    folder: Path,
    clock: Clock,
    settings: SupervisorSettings = QUICK,
    *,
    read_gpu_memory: Callable[[], int | None] = lambda: None,
) -> Iterator[ComfyRun]:
    """Watch the process of the tests as a foreign ComfyUI that answers by the files of a folder."""
    process = open_this_process(folder, clock)
    log = logging.getLogger("test")
    run = ComfyRun(
        process, lambda _process: FolderProbes(process, folder), settings, clock, log, read_gpu_memory=read_gpu_memory
    )
    try:
        yield run
    finally:
        run.close()


class RunningSupervisor:
    """A supervisor in a thread."""

    def __init__(
        self,
        workspace: Workspace,
        name: str,
        args: tuple[str, ...] = (),
        settings: SupervisorSettings = QUICK,
        *,
        probes: ProbeFactory | None = None,
        environments: EnvironmentSet | None = None,
    ) -> None:
        from comfywatchman.comfyui.server.listening import find_free_port

        self.workspace = workspace
        self.result: int | BaseException | None = None
        self.orchestrator = Orchestrator(
            workspace.root,
            name,
            args,
            probes=probes or self._build_probes,
            environments=environments,
            settings=replace(settings, port=find_free_port()),
        )
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ask it to end, and wait for it."""
        if self._thread.is_alive():
            self.orchestrator.request_stop()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def join(self, timeout_seconds: float = 60.0) -> int | BaseException | None:
        """Wait for its own end, and return its exit status or error."""
        self._thread.join(timeout_seconds)
        assert not self._thread.is_alive()
        return self.result

    def wait_for(self, condition: Callable[[], bool], *, timeout_seconds: float = 60.0) -> None:
        """Wait until a condition holds, or fail with the last status."""
        if not wait_until(condition, timeout_seconds=timeout_seconds):
            raise AssertionError(self.status())

    def wait_for_state(self, state: str, *, timeout_seconds: float = 60.0) -> None:
        """Wait until the supervisor publishes a state."""
        self.wait_for(lambda: self.status().get("state") == state, timeout_seconds=timeout_seconds)

    def status(self) -> dict[str, object]:
        """Return the published status."""
        try:
            content: dict[str, object] = json.loads((self.workspace.metadata / "supervisor_status.json").read_text())
        except OSError:
            return {}
        return content

    def switch_states(self, until: str, *, timeout_seconds: float = 60.0) -> list[dict[str, object]]:
        """Return the distinct states of a switch, up to one."""
        seen: list[dict[str, object]] = []
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            try:
                status = json.loads((self.workspace.metadata / ".switch_status.json").read_text())
            except OSError:
                status = {"state": None}
            if status["state"] is not None and (not seen or seen[-1]["state"] != status["state"]):
                seen.append(status)
            if status["state"] == until:
                return seen
            time.sleep(0.002)
        raise AssertionError(seen)

    def _build_probes(self, process: WatchedProcess) -> FolderProbes:
        return FolderProbes(process, Path(process.record.folder))

    def _run(self) -> None:
        try:
            self.result = self.orchestrator.run_forever()
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.result = error
