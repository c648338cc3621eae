from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from comfywatchman.app.tasks.records import TaskKind, TaskOrder, TaskProgress, TaskSnapshot, TaskState, decide_state


@pytest.mark.parametrize(
    ("exit_status", "is_alive", "state"),
    [
        (None, True, TaskState.RUNNING),
        (None, False, TaskState.INTERRUPTED),
        (0, True, TaskState.DONE),
        (0, False, TaskState.DONE),
        (75, False, TaskState.SKIPPED),
        (1, False, TaskState.FAILED),
        (130, False, TaskState.INTERRUPTED),
    ],
)
def test_state_follows_from_the_record_and_the_process(
    exit_status: int | None,
    state: TaskState,
    *,
    is_alive: bool,
) -> None:
    assert decide_state(TaskProgress(exit_status=exit_status), is_alive=is_alive) is state


@pytest.mark.parametrize(("done", "total", "percent"), [(1, 3, 33), (5, 4, 100), (0, 0, None), (7, None, None)])
def test_percent_needs_a_total(done: int, total: int | None, percent: int | None) -> None:
    order = TaskOrder(TaskKind.DOWNLOAD, "comfywatchman download", "2026-12-01T00:00:00Z")
    task = TaskSnapshot("a", order, TaskProgress(done=done, total=total), TaskState.RUNNING, Path("a.log"))
    assert task.percent == percent


@pytest.mark.parametrize("text", ["x", "2026-11-20T14:00:00", "9999-12-31T23:59:59-23:59"])
def test_record_with_a_time_that_is_none_is_damaged(text: str) -> None:
    order = {"kind": "cycle", "command": "", "started_at": text}
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(order, TaskOrder)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"ended_at": text}, TaskProgress)
