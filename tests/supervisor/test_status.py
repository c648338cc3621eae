from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from comfywatchman.base.lock import hold_lock
from comfywatchman.supervisor.states import SupervisorState
from comfywatchman.supervisor.status import LOCK_NAME, STATUS_NAME, SupervisorStatus, read_status, write_status
from tests.fakes import FakeClock

READY = SupervisorStatus(
    state=SupervisorState.READY,
    looked_at="2026-11-20T14:00:00Z",
    since="2026-11-20T13:00:00Z",
    port=8188,
    supervisor_pid=os.getpid(),
    environment="main",
    pid=456,
    queue_length=0,
)


def test_status_of_a_living_supervisor_is_believed(tmp_path: Path) -> None:
    clock = FakeClock()
    with hold_lock(tmp_path / LOCK_NAME, command="supervise run", clock=clock):
        write_status(tmp_path, READY)
        assert read_status(tmp_path, clock) == READY


def test_ready_of_a_dead_supervisor_is_unproven(tmp_path: Path) -> None:
    write_status(tmp_path, READY)
    status = read_status(tmp_path, FakeClock())
    assert status is not None
    assert (status.state, status.pid, status.queue_length) == (SupervisorState.UNPROVEN, None, None)
    assert "no longer runs" in status.sentence


@pytest.mark.parametrize("state", [SupervisorState.STOPPED, SupervisorState.GAVE_UP])
def test_resting_state_outlives_the_supervisor(tmp_path: Path, state: SupervisorState) -> None:
    write_status(tmp_path, msgspec.structs.replace(READY, state=state))
    status = read_status(tmp_path, FakeClock())
    assert status is not None
    assert status.state is state


def test_status_that_is_not_renewed_is_unproven(tmp_path: Path) -> None:
    clock = FakeClock()
    with hold_lock(tmp_path / LOCK_NAME, command="supervise run", clock=clock):
        write_status(tmp_path, READY)
        clock.advance(awake=61)
        status = read_status(tmp_path, clock)
    assert status is not None
    assert status.state is SupervisorState.UNPROVEN
    assert "last looked 1 min ago (" in status.sentence


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"state": "fine"}', b"\xff\xfe"])
def test_damaged_status_is_no_status(tmp_path: Path, content: bytes) -> None:
    (tmp_path / STATUS_NAME).write_bytes(content)
    assert read_status(tmp_path, FakeClock()) is None


@pytest.mark.parametrize("name", ["looked_at", "since", "proven_at"])
@pytest.mark.parametrize("text", ["yesterday", "2026-11-20T14:00:00", "9999-12-31T23:59:59-23:59"])
def test_status_with_an_unreadable_time_is_no_status(tmp_path: Path, name: str, text: str) -> None:
    content = {**msgspec.to_builtins(READY), name: text}
    (tmp_path / STATUS_NAME).write_bytes(msgspec.json.encode(content))
    assert read_status(tmp_path, FakeClock()) is None
