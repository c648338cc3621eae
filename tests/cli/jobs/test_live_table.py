from __future__ import annotations

import io
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from comfywatchman.base.stop import StopEvent
from comfywatchman.cli.jobs import live_table
from comfywatchman.cli.jobs.live_table import build_table, collect_progress, format_totals, read_jobs, show_queue
from comfywatchman.jobs.records import JobStatus
from tests.cli.jobs.calls import JobsHome
from tests.jobs.execution.samples import NAME, build_job
from tests.jobs.execution.sites import build_name, open_site

pytestmark = pytest.mark.slow


def draw(width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    progress = {NAME: {"running": True, "node": "3", "value": 4, "maximum": 20}}
    console.print(build_table([build_job()], progress, width))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines() if line.strip()]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_table_fits_the_terminal(width: int) -> None:
    lines = draw(width)
    assert max(map(len, lines)) <= width
    assert "processing" in lines[-1]
    assert lines[-1].strip().startswith("T2I_2026")


def test_running_job_shows_its_progress() -> None:
    assert draw(100)[-1].endswith("node 3, step 4 of 20")


def test_running_jobs_come_first_then_the_next_ones(tmp_path: Path) -> None:
    with open_site(tmp_path) as site:
        for number, priority in ((1, 50), (2, 1), (3, 9), (4, 8)):
            site.add("picture", number, priority=priority)
        with site.work() as worker:
            worker.run_once()
        assert site.store.lease_next(site.worker_id, lease_seconds=60, host="here") is not None
        names = [build_name(number) for number in (4, 3, 1, 2)]
        assert [job.config_name for job in read_jobs(site.store, None, "", 10)] == names
        assert [job.config_name for job in read_jobs(site.store, None, "", 2)] == names[:2]
        assert [job.config_name for job in read_jobs(site.store, JobStatus.DONE, "", 10)] == [build_name(2)]
        site.store.beat(site.worker_id, progress={"job": names[0], "running": True})
        assert list(collect_progress(site.store.list_hosts())) == [names[0]]
        assert format_totals(site.store.stats()) == "2 pending, 1 processing, 1 done"


def test_table_is_drawn_until_it_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), width=80, height=24)
    monkeypatch.setattr(live_table, "create_console", lambda: console)
    with open_site(tmp_path) as site, StopEvent() as stop_event:
        site.add()
        stop_event.set()
        show_queue(site.store, stop_event, status=None, text="")
    assert isinstance(console.file, io.StringIO)
    assert "1 pending" in console.file.getvalue()


def test_live_table_needs_a_terminal(home: JobsHome) -> None:
    assert home("queue", "ls", "--live").exit_code == 2


@pytest.mark.slow
def test_live_table_on_a_terminal_ends_with_ctrl_c(home: JobsHome) -> None:
    name = home.drop()
    home("monitor")
    controller, terminal = pty.openpty()
    options = ["--home", str(home.folder), "--config", str(home.folder / "config.toml")]
    command = [sys.executable, "-m", "comfywatchman", *options, "jobs", "queue", "ls", "--live"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    with subprocess.Popen(command, stdout=terminal, stderr=terminal, env=environment) as process:
        os.close(terminal)
        text = b""
        while name.encode() not in text:
            text += os.read(controller, 4096)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    os.close(controller)
