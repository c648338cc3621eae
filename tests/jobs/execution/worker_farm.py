"""Workers in processes of their own, which tests kill and stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.jobs.execution.sites import LIMIT_SECONDS


@dataclass
class WorkerFarm:
    """Starts workers of one folder.

    Attributes:
        folder: The folder of the site.
        url: The address of its ComfyUI.
        program: `worker_program`.
        started: Process ids of all workers so far.
    """

    folder: Path
    url: str
    program: subprocess.Popen[str]
    started: list[int] = field(default_factory=list)

    def start(self, failpoints: str = "", url: str = "") -> int:
        """Start a worker, on another ComfyUI if one is named; return its process id."""
        assert self.program.stdin is not None
        assert self.program.stdout is not None
        self.program.stdin.write(f"{self.folder}\t{url or self.url}\t{failpoints}\n")
        self.program.stdin.flush()
        pid = int(self.program.stdout.readline())
        self.started.append(pid)
        return pid

    def run(self, failpoints: str = "", limit_seconds: float = LIMIT_SECONDS) -> None:
        """Run a worker to its end, or to its failpoint."""
        pid = self.start(failpoints)
        deadline = time.monotonic() + limit_seconds
        while is_alive(pid):
            assert time.monotonic() < deadline, "the worker goes on"
            time.sleep(0.005)


def is_alive(pid: int) -> bool:
    """Return whether a worker runs; one that ended is reaped by its parent at once."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def open_farm(folder: Path, url: str, **environment: str) -> Iterator[WorkerFarm]:
    """Give a farm for the site in a folder; every worker is killed at the end."""
    command = [sys.executable, "-m", "tests.jobs.execution.worker_program"]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
        cwd=Path(__file__).parents[3],
    ) as program:
        farm = WorkerFarm(folder, url, program)
        try:
            yield farm
        finally:
            for pid in farm.started:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            assert program.stdin is not None
            program.stdin.close()
            program.wait(LIMIT_SECONDS)
