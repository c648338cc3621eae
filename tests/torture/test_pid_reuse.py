"""Process ids that the kernel gave to strangers: none of them is signalled, adopted, or waited for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.supervisor.orchestrator_program import CHECKOUT

REUSES = int(os.environ.get("PID_REUSES", "500"))
UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc")


@pytest.fixture(scope="module", autouse=True)
def pid_namespace() -> None:
    try:
        probe = subprocess.run([*UNSHARE, "test", "-w", "/proc/sys/kernel/ns_last_pid"], check=False)
    except OSError as error:
        pytest.skip(f"unshare cannot be started: {error}")
    if probe.returncode:
        pytest.skip("pid namespaces cannot be created here")


def force_reuses(folder: Path, rounds: int) -> dict[str, int]:
    completed = subprocess.run(
        [*UNSHARE, sys.executable, "-m", "tests.supervisor.pid_reuse_program", str(folder), str(rounds)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    counts: dict[str, int] = json.loads(completed.stdout)
    return counts


@pytest.mark.slow
def test_reused_pids_reach_no_stranger(tmp_path: Path) -> None:
    assert force_reuses(tmp_path, 12) == {"reuses": 12, "signalled": 0, "mistaken": 0}


@pytest.mark.torture
def test_many_reused_pids_reach_no_stranger(tmp_path: Path) -> None:
    counts = force_reuses(tmp_path, REUSES)
    print(counts)  # noqa: T201 - the figures of docs/measurements.md
    assert counts == {"reuses": REUSES, "signalled": 0, "mistaken": 0}
