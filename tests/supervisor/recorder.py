"""A program in the place of the supervisor's interpreter, which records how it was started."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PROGRAM: Final = """#!{python} -IS
import json, os, sys, time
record = {{
    "argv": sys.argv[1:],
    "pid": os.getpid(),
    "sid": os.getsid(0),
    "cwd": os.getcwd(),
    "stdin": sys.stdin.read(),
    "has_request": os.path.exists({request!r}),
    "variables": dict(os.environ),
}}
print("its output", flush=True)
print("its errors", file=sys.stderr, flush=True)
with open({record!r} + ".tmp", "w") as stream:
    json.dump(record, stream)
os.rename({record!r} + ".tmp", {record!r})
time.sleep(600)
"""


@dataclass(frozen=True)
class StartRecord:
    """How the program was started."""

    argv: list[str]
    pid: int
    sid: int
    cwd: str
    stdin: str
    has_request: bool
    variables: dict[str, str]


@dataclass(frozen=True)
class Recorder:
    """A workspace, and a custom node pack whose interpreter records its start."""

    workspace: Path
    pack: Path

    @property
    def python(self) -> Path:
        return self.pack / "server" / ".orchestrator_venv" / "bin" / "python"

    def build(self) -> None:
        (self.workspace / ".metadata").mkdir(parents=True, exist_ok=True)
        self.python.parent.mkdir(parents=True, exist_ok=True)
        # It may be a link to the interpreter of this machine.
        self.python.unlink(missing_ok=True)
        request = str(self.workspace / ".metadata" / ".switch_request.json")
        record = str(self.workspace / "record.json")
        self.python.write_text(_PROGRAM.format(python=sys.executable, request=request, record=record))
        self.python.chmod(0o755)

    def has_started(self) -> bool:
        return (self.workspace / "record.json").exists()

    def read(self) -> StartRecord:
        """Wait for the start and return its record."""
        until = time.monotonic() + 60
        while not self.has_started():
            assert time.monotonic() < until, "nothing was started"
            time.sleep(0.01)
        return StartRecord(**json.loads((self.workspace / "record.json").read_text()))

    def end(self) -> None:
        """End what was started."""
        if not self.has_started():
            return
        pid = self.read().pid
        os.kill(pid, signal.SIGKILL)
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            # Its parent was another process of a test.
            return
