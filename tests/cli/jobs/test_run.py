from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from comfywatchman.app.jobs import JobAgent
from comfywatchman.app.session import Session
from comfywatchman.base.stop import StopEvent
from comfywatchman.cli.jobs.run import open_worker, run_until_stopped
from tests.cli.jobs.calls import JobsHome

pytestmark = pytest.mark.slow


def test_dropped_file_becomes_a_published_picture(home: JobsHome) -> None:
    name = home.drop()
    result = home("run", "--once")
    assert result.exit_code == 0, result.output
    assert f"{name}: done in " in result.stdout
    assert str(home.finished / "image" / name) in result.stdout
    assert (home.finished / "image" / name / "cat.png").read_bytes() == b"\x89PNG made"
    assert (home.finished / "image" / f"{name}.yaml").is_file()
    job = home.json("show", name)["job"]
    assert (job["status"], job["run_count"], job["retries_attempted"]) == ("done", 1, 0)
    assert home("run").stdout == "There is no job to run.\n"


def test_ended_job_is_one_line_of_the_log(home: JobsHome) -> None:
    name = home.drop()
    assert home.json("run")["job"]["status"] == "done"
    lines = [json.loads(line) for line in (home.folder / "log" / "structured.log").read_text("utf-8").splitlines()]
    ended = [line for line in lines if line["message"] == "job ended"]
    assert [(line["job"], line["status"]) for line in ended] == [(f"{name}.yaml", "done")]


def test_failed_job_exits_with_1_and_the_reason(home: JobsHome) -> None:
    name = home.drop("fail")
    result = home("run")
    assert result.exit_code == 1
    assert f"{name}: failed (jobs-node-failed)\n  TestFail: RuntimeError: made to fail\n" in result.stderr
    assert home.format_command("retry", name) in result.stderr


def test_failed_run_with_retries_left_is_queued_again(home: JobsHome) -> None:
    name = home.drop("fail", text="retry_limit: 1\n")
    result = home("run")
    assert result.exit_code == 0
    assert f"{name}: queued again (jobs-node-failed)" in result.stderr


def test_waiting_jobs_exit_with_75_and_the_reason(home: JobsHome) -> None:
    home.drop()
    home("pause")
    result = home("run")
    assert result.exit_code == 75
    command = home.format_command("resume")
    assert result.stdout.endswith(f"No job was started: The queue is paused.\nResume it: {command}\n")
    assert home.json("run", code=75)["waits_for"]["code"] == "paused"


def test_worker_is_gone_afterwards(home: JobsHome) -> None:
    home.drop()
    home("run")
    agent = JobAgent(Session(home.folder, home.folder / "config.toml"))
    with agent.open_store() as store:
        assert [worker for host in store.list_hosts() for worker in host.workers] == []


@pytest.mark.slow
def test_loop_runs_jobs_until_it_is_stopped(home: JobsHome) -> None:
    names = [home.drop("picture", 1), home.drop("picture", 2)]
    home("monitor")
    options = ["--home", str(home.folder), "--config", str(home.folder / "config.toml")]
    command = [sys.executable, "-m", "comfywatchman", *options, "jobs", "run", "--loop", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ}) as process:
        assert process.stdout is not None
        ended = [json.loads(process.stdout.readline()) for _ in names]
        home.drop("sleep", 3)
        home("monitor")
        deadline = time.monotonic() + 60
        while home.server.running_id is None and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()
        assert process.wait(60) == 0
    assert [line["job"]["config_name"] for line in ended] == [f"{name}.yaml" for name in names]
    assert json.loads(rest)["job"]["status"] == "pending", "the running job goes back into the queue"
    assert home.server.queued == []


def test_loop_prints_once_that_jobs_wait_for_comfyui(
    home: JobsHome, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Port 9 is reserved for a service that hosts do not run.
    monkeypatch.setenv("COMFYWATCHMAN_JOBS__COMFYUI_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("HOME", str(home.folder))
    agent = JobAgent(Session(home.folder, home.folder / "config.toml"))
    passes = iter(range(2))
    with agent.open_store() as store, StopEvent() as stop_event, open_worker(agent, store, stop_event) as worker:
        run_once = worker.run_once

        def run_twice() -> bool:
            if next(passes, None) is None:
                stop_event.set()
            return run_once()

        monkeypatch.setattr(worker, "run_once", run_twice)
        run_until_stopped(agent, worker, store, stop_event, as_json=False)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("Jobs wait: ComfyUI at http://127.0.0.1:9 does not answer")
    assert line.endswith(" Start ComfyUI.")
