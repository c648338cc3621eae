from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from comfywatchman.app.session import Session
from comfywatchman.app.tasks.records import TaskKind, TaskOrder, TaskProgress, TaskSnapshot, TaskState
from comfywatchman.app.tasks.start import KEPT_TASKS, list_tasks, read_task, read_task_log, start_task, stop_task
from comfywatchman.base.state.state_file import write_state
from tests.hosts import Host

DEADLINE_SECONDS = 60.0


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def session(host: Host, monkeypatch: pytest.MonkeyPatch) -> Session:
    for name, text in host.variables.items():
        monkeypatch.setenv(name, text)
    return Session(host.home, None)


def wait_until(session: Session, task_id: str, is_met: Callable[[TaskSnapshot], bool]) -> TaskSnapshot:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        task = read_task(session, task_id)
        assert task is not None
        if is_met(task):
            return task
        time.sleep(0.02)
    raise AssertionError(task)


def put_task(session: Session, name: str, progress: TaskProgress | None = None) -> None:
    folder = session.home_layout.home.state / "tasks"
    folder.mkdir(parents=True, exist_ok=True)
    order = TaskOrder(TaskKind.CYCLE, "comfywatchman --run-cycle", "2026-12-01T00:00:00Z")
    write_state(folder / f"{name}.task.json", order)
    if progress is not None:
        write_state(folder / f"{name}.progress.json", progress)


@pytest.mark.slow
def test_cycle_runs_in_the_background(host: Host, session: Session) -> None:
    host.write("a.json")
    task = start_task(session, TaskKind.CYCLE, ["--run-cycle"])
    assert task.order.command == f"comfywatchman --home {host.home} --run-cycle"
    ended = wait_until(session, task.id, lambda found: not found.is_running)
    assert (ended.state, ended.progress.message) == (TaskState.DONE, None)
    assert host.report()["summary"]["workflows"] == 1
    assert any("1 workflow" in line for line in read_task_log(ended))
    assert [found.id for found in list_tasks(session)] == [task.id]


@pytest.mark.slow
def test_running_cycle_is_not_started_again(session: Session) -> None:
    task = start_task(session, TaskKind.CYCLE, ["--scheduler"])
    assert start_task(session, TaskKind.CYCLE, ["--run-cycle"]).id == task.id
    assert stop_task(session, task.id)
    wait_until(session, task.id, lambda found: not found.is_running)


@pytest.mark.slow
def test_killed_task_is_interrupted(session: Session) -> None:
    task = start_task(session, TaskKind.CYCLE, ["--scheduler"])
    assert task.order.pid is not None
    os.kill(task.order.pid, signal.SIGKILL)
    ended = wait_until(session, task.id, lambda found: not found.is_running)
    assert ended.state is TaskState.INTERRUPTED


@pytest.mark.slow
def test_task_can_be_stopped(session: Session) -> None:
    task = start_task(session, TaskKind.CYCLE, ["--scheduler"])
    assert stop_task(session, task.id)
    assert not wait_until(session, task.id, lambda found: not found.is_running).is_running
    assert not stop_task(session, task.id)


def test_task_of_an_earlier_boot_is_interrupted(session: Session) -> None:
    folder = session.home_layout.home.state / "tasks"
    folder.mkdir(parents=True)
    order = TaskOrder(TaskKind.CYCLE, "c", "2026-12-01T00:00:00Z", pid=os.getpid(), boot_id="another")
    write_state(folder / "a.task.json", order)
    task = read_task(session, "a")
    assert task is not None
    assert task.state is TaskState.INTERRUPTED


def test_newest_task_comes_first(session: Session) -> None:
    put_task(session, "20261201T000000Z-cycle", TaskProgress(exit_status=0))
    put_task(session, "20261201T000001Z-cycle")
    assert [(task.id, task.state) for task in list_tasks(session)] == [
        ("20261201T000001Z-cycle", TaskState.INTERRUPTED),
        ("20261201T000000Z-cycle", TaskState.DONE),
    ]


@pytest.mark.parametrize("task_id", ["", "..", "../a", "a/b", "a\0", "unknown", "x" * 5000])
def test_unknown_and_hostile_ids_are_no_task(session: Session, task_id: str) -> None:
    assert read_task(session, task_id) is None


@pytest.mark.slow
def test_old_tasks_are_deleted(session: Session) -> None:
    for number in range(KEPT_TASKS + 5):
        put_task(session, f"2025{number:04}", TaskProgress(exit_status=0))
    task = start_task(session, TaskKind.SEARCH, ["config"])
    wait_until(session, task.id, lambda found: not found.is_running)
    tasks = list_tasks(session)
    assert len(tasks) == KEPT_TASKS
    assert (tasks[0].id, tasks[-1].id) == (task.id, "20250006")
