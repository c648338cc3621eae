from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.cli.jobs.calls import JobsHome


def test_new_and_known_files_are_told_apart(home: JobsHome) -> None:
    name = home.drop()
    assert home("monitor").stdout == f"{name}.yaml: inserted\n1 accepted (1 new), 0 not accepted.\n"
    assert home("monitor").stdout == "1 accepted (0 new), 0 not accepted.\n"


def test_rejected_file_exits_with_1_and_stays(home: JobsHome) -> None:
    name = home.drop("pictur")
    result = home("monitor")
    assert result.exit_code == 1
    assert "rejected" in result.stderr
    assert "workflow_id" in result.stderr
    assert (home.processing / "image" / f"{name}.yaml").is_file()
    (entry,) = home.json("monitor", code=1)["results"]
    assert (entry["status"], entry["field"], entry["line"]) == ("rejected", "workflow_id", 2)


@pytest.mark.slow
def test_loop_reports_each_file_until_it_is_stopped(home: JobsHome) -> None:
    name = home.drop()
    options = ["--home", str(home.folder), "--config", str(home.folder / "config.toml")]
    command = [sys.executable, "-m", "comfywatchman", *options, "jobs", "monitor", "--loop", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ}) as process:
        assert process.stdout is not None
        entry = json.loads(process.stdout.readline())
        while entry["status"] == "waiting":
            entry = json.loads(process.stdout.readline())
        assert (entry["config_name"], entry["outcome"]) == (f"{name}.yaml", "inserted")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
