"""Code that runs in a child process, with failpoints."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

KILLED: Final = -9


def in_child(code: str, *arguments: str | Path, failpoints: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "COMFYWATCHMAN_FAILPOINTS": failpoints},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


def measure_cpu_seconds(*runs: Callable[[], object]) -> list[float]:
    """Return the least CPU time of the children that each function starts, of seven calls in turn."""
    seconds = [[_measure_once(run) for run in runs] for _ in range(7)]
    return [min(times) for times in zip(*seconds, strict=True)]


def _measure_once(run: Callable[[], object]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
