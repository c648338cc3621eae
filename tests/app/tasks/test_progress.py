from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.app.tasks.progress import TaskReporter
from comfywatchman.app.tasks.records import TaskProgress
from comfywatchman.base.state.state_file import read_state
from tests.fakes import FakeClock
from tests.hosts import Host


def read(path: Path) -> TaskProgress:
    progress = read_state(path, TaskProgress)
    assert isinstance(progress, TaskProgress)
    return progress


def test_counts_are_written_twice_per_second_at_most(tmp_path: Path) -> None:
    clock = FakeClock()
    reporter = TaskReporter(tmp_path / "p.json", clock)
    reporter.show("Downloading")
    reporter.count("a", 1, 10)
    assert read(reporter.path) == TaskProgress(text="Downloading", updated_at="2026-11-20T14:00:00Z")
    clock.advance(awake=0.5)
    reporter.count("a", 2, 10)
    reporter.count("a", 3, 10)
    assert read(reporter.path) == TaskProgress(text="a", done=2, total=10, updated_at="2026-11-20T14:00:00Z")


def test_end_keeps_the_last_progress(tmp_path: Path) -> None:
    reporter = TaskReporter(tmp_path / "p.json", FakeClock())
    reporter.count("a", 2, 10)
    reporter.fail("state-unwritable", "The disk is full.", "Free space on it.")
    reporter.end(1)
    now = "2026-11-20T14:00:00Z"
    assert read(reporter.path) == TaskProgress(
        "a", 2, 10, now, now, 1, "state-unwritable", "The disk is full.", "Free space on it."
    )


def test_unwritable_record_does_not_stop_the_command(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_bytes(b"")
    TaskReporter(blocker / "p.json").show("Reading")


def test_command_records_its_end(tmp_path: Path) -> None:
    host = Host(tmp_path)
    progress = tmp_path / "p.json"
    assert host.invoke("--task", progress, "config").exit_code == 0
    assert read(progress).exit_status == 0
    host.invoke("--task", progress, "status")
    ended = read(progress)
    assert (ended.exit_status, ended.code) == (1, "report-unavailable")
    assert ended.hint is not None
    host.invoke("--task", progress, "statu")
    assert (read(progress).code, read(progress).message) == ("usage", "No such command 'statu'. Did you mean 'status'?")


def test_failure_that_a_gov_command_prints_itself_is_recorded(tmp_path: Path) -> None:
    host = Host(tmp_path)
    progress = tmp_path / "p.json"
    host.invoke("--task", progress, "env", "rollback", "x")
    ended = read(progress)
    assert (ended.code, ended.exit_status) == ("gov-not-initialised", 1)


@pytest.mark.slow
def test_cycle_records_its_phases(tmp_path: Path) -> None:
    host = Host(tmp_path)
    progress = tmp_path / "p.json"
    host.invoke("--task", progress, "--run-cycle")
    ended = read(progress)
    assert (ended.exit_status, ended.code) == (0, None)
    assert ended.text
