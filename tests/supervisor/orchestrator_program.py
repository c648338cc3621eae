"""A supervisor as a process of its own, for tests that kill it, with a stand-in for ComfyUI that leaves processes.

python -m tests.supervisor.orchestrator_program ROOT PORT MARK [keep]
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from comfywatchman.base.errors import Failure
from comfywatchman.supervisor.health_policy import PortState
from comfywatchman.supervisor.loop import Orchestrator
from comfywatchman.supervisor.process.ports import find_port_state
from comfywatchman.supervisor.workspace import ComfygitWorkspace
from tests.supervisor.workspaces import QUICK, FolderProbes, Workspace

CHECKOUT = Path(__file__).parents[2]
LISTENING_MAIN = """
import os, signal, socket, subprocess, sys, time
from pathlib import Path
folder = Path(__file__).parent
nap = "import signal, time; [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 15)]; time.sleep(600)"
family = [sys.executable, "-S", "-c", nap, *sys.argv[1:]]
subprocess.Popen(family)
subprocess.Popen(family, start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    os.execv(family[0], family)
os.wait()
time.sleep(float((folder / "delay").read_text()) if (folder / "delay").exists() else 0)
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[-1].rpartition("=")[2])))
listener.listen()
print("listening", flush=True)
try:
    while not (folder / "exit").exists():
        time.sleep(0.02)
except KeyboardInterrupt:
    print("Stopped server", flush=True)
    raise SystemExit(0)
status = int((folder / "exit").read_text() or 0)
(folder / "exit").unlink()
raise SystemExit(status)
"""
"""As ComfyUI does, it ends with status 0 on SIGINT; three descendants ignore signals, two in sessions of their own."""
UV = """#!/bin/sh
setsid sleep 600 &
exec sleep 0.2
"""
"""A uv that takes a moment, and leaves a process in a session of its own."""


class ListeningProbes(FolderProbes):
    """Answers by the listener at the port."""

    def find_port_state(self) -> PortState:
        """Return who listens, as for a real ComfyUI."""
        return find_port_state(self.process.record.port, self.process.leader)


def build_workspace(root: Path, *names: str) -> Workspace:
    """Create a workspace whose environments are synchronised by a program and start the listening stand-in."""
    workspace = Workspace(root, *names)
    for name in names:
        (workspace.comfyui(name) / "main.py").write_text(LISTENING_MAIN)
        project = root / "environments" / name / ".cec"
        project.mkdir()
        (project / "uv.lock").touch()
        (project / "pyproject.toml").touch()
    uv = root / "uv"
    uv.write_text(UV)
    uv.chmod(0o755)
    return workspace


def start_program(root: Path, port: int, mark: str, log: Path, *options: str) -> subprocess.Popen[bytes]:
    """Start a supervisor."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.supervisor.orchestrator_program", str(root), str(port), mark, *options],
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            cwd=root,
            stdout=output,
            stderr=output,
        )


def find_processes(folder: Path, mark: str = "") -> dict[int, str]:
    """Return the processes that work in a folder, by their command; with a mark, those with it in their command."""
    found: dict[int, str] = {}
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        with suppress(OSError):
            works_here = Path(os.readlink(f"/proc/{name}/cwd")).is_relative_to(folder)
            command = Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            # A zombie has no command and no folder any more.
            if works_here and command and mark in command:
                found[int(name)] = command
    return found


def main() -> int:
    """Supervise until the end."""
    root, port, mark = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    environments = ComfygitWorkspace(root, uv=root / "uv")
    try:
        orchestrator = Orchestrator(
            root,
            environments.current() or "main",
            (f"--mark={mark}",),
            probes=lambda process: ListeningProbes(process, Path(process.record.folder)),
            environments=environments,
            settings=replace(QUICK, port=port, is_kept="keep" in sys.argv[4:]),
        )
        return orchestrator.run_forever()
    except Failure as failure:
        sys.stderr.write(f"{failure.code}: {failure.message}\n")
        return 3


if __name__ == "__main__":
    # It must not outlive a test that fails.
    sys.exit(main())
