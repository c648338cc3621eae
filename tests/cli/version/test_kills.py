"""`version clone`, killed at random moments: the next run goes on, and nothing half is published."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.version.clonable import ClonableHost, make_clonable


def kill_and_finish(clonable: ClonableHost, target: Path, *, kills: int, seed: int) -> None:
    """Kill runs into one folder with SIGKILL, then let one end, and compare the clone with its lock."""
    chosen = random.Random(seed)  # noqa: S311 - chooses when to kill
    argv = [sys.executable, "-m", "comfywatchman", "--home", str(clonable.host.home)]
    argv += [*clonable.clone_arguments(target), "--skip-models"]
    environment = {**os.environ, **clonable.host.variables}
    started = time.monotonic()
    subprocess.run(argv, env=environment, check=True, capture_output=True)
    whole_seconds = time.monotonic() - started
    shutil.rmtree(target)
    for _ in range(kills):
        with subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
            try:
                run.wait(chosen.uniform(0.1, whole_seconds))
            except subprocess.TimeoutExpired:
                run.kill()
        if target.exists():
            # It ended before the kill: what is published is whole, and the next run begins anew.
            check_whole(clonable, target)
            shutil.rmtree(target)
    subprocess.run(argv, env=environment, check=True, capture_output=True)
    check_whole(clonable, target)
    assert not target.with_name(f"{target.name}.partial").exists()


def check_whole(clonable: ClonableHost, target: Path) -> None:
    comfyui = target / "ComfyUI"
    result = subprocess.run(
        [str(comfyui / ".venv" / "bin" / "python"), "-B", "-c", "import tiny"], check=False, capture_output=True
    )
    assert result.returncode == 0
    assert (comfyui / "main.py").read_bytes() == (clonable.host.comfyui / "main.py").read_bytes()


@pytest.mark.slow
def test_clone_killed_twice_is_finished(tmp_path: Path) -> None:
    kill_and_finish(make_clonable(tmp_path), tmp_path / "clone", kills=2, seed=12)


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(5))
def test_clone_killed_twenty_times_is_finished(tmp_path: Path, seed: int) -> None:
    kill_and_finish(make_clonable(tmp_path), tmp_path / "clone", kills=20, seed=seed)
