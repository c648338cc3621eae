from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.cli.jobs.calls import JobsHome

pytestmark = pytest.mark.slow

LIMIT_SECONDS = 60.0


def test_agent_runs_files_that_are_dropped_while_it_runs(home: JobsHome) -> None:
    options = ["--home", str(home.folder), "--config", str(home.folder / "config.toml")]
    command = [sys.executable, "-m", "comfywatchman", *options, "jobs", "start"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ}) as process:
        assert process.stdout is not None
        assert str(home.processing) in process.stdout.readline()
        name = home.drop()
        picture = home.finished / "image" / f"{name}.yaml"
        deadline = time.monotonic() + LIMIT_SECONDS
        while not picture.is_file() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(LIMIT_SECONDS) == 0
    assert f"{name}.yaml: inserted\n" in rest
    assert f"{name}: done in " in rest
