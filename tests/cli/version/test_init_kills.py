"""`version init`, killed at random moments: the next run goes on, and an environment is never left half installed."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.version.repositories import make_source
from tests.hosts import Host


def kill_and_finish(folder: Path, *, kills: int, seed: int) -> None:
    """Kill runs for one home with SIGKILL, then let one end, and use what it installed."""
    chosen = random.Random(seed)  # noqa: S311 - chooses when to kill
    host, source, home = Host(folder / "host"), make_source(folder), folder / "comfy"
    options = ["--path", str(home), "--torch", "index", "--cpu", "--yes"]
    argv = host.command("version", "init", *source.options(), *options)
    environment = host.environment()
    started = time.monotonic()
    subprocess.run(argv, env=environment, check=True, capture_output=True)
    whole_seconds = time.monotonic() - started
    for number in range(kills):
        # Half of the kills meet a new home, the others what an earlier kill has left.
        if number % 2 == 0:
            shutil.rmtree(home, ignore_errors=True)
        with subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
            try:
                run.wait(chosen.uniform(0.1, whole_seconds))
            except subprocess.TimeoutExpired:
                run.kill()
    result = subprocess.run(argv, env=environment, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "it started" in result.stdout
    python = home / "ComfyUI" / ".venv" / "bin" / "python"
    subprocess.run([str(python), "-B", "-c", "import tiny, torch"], check=True, capture_output=True)
    assert not (home / ".ComfyUI.partial").exists()


@pytest.mark.slow
def test_init_killed_twice_is_finished(tmp_path: Path) -> None:
    kill_and_finish(tmp_path, kills=2, seed=12)


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(5))
def test_init_killed_twenty_times_is_finished(tmp_path: Path, seed: int) -> None:
    kill_and_finish(tmp_path, kills=20, seed=seed)
