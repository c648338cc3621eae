"""The state of ComfyUI as a cycle and a job get it from the supervisor."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from comfywatchman.app.session import Session
from comfywatchman.app.supervisor_state import (
    find_wait_reason,
    has_job_ended_comfyui,
    read_supervisor,
    reason_to_wait_for_supervisor,
)
from comfywatchman.base.clock import SystemClock, format_utc, parse_utc
from comfywatchman.base.errors import Failure
from comfywatchman.base.lock import hold_lock
from comfywatchman.supervisor.incidents import Incident, record_incident
from comfywatchman.supervisor.states import CHANGING_STATES, WORKING_STATES, SupervisorState
from comfywatchman.supervisor.status import LOCK_NAME, SupervisorStatus, write_status
from tests.supervisor.workspaces import Workspace

CLOCK = SystemClock()


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    workspace = Workspace(tmp_path / "ws", "main", "other")
    monkeypatch.setenv("COMFYWATCHMAN_SUPERVISOR__WORKSPACE", str(workspace.root))
    return workspace


@pytest.fixture
def session(workspace: Workspace, tmp_path: Path) -> Session:
    return Session(tmp_path / "home", None, comfyui_option=workspace.comfyui("main"))


def write_state(workspace: Workspace, state: SupervisorState, *, environment: str = "main") -> SupervisorStatus:
    """Publish a state in the name of this process."""
    now = format_utc(CLOCK.now())
    status = SupervisorStatus(
        state,
        now,
        now,
        port=8188,
        supervisor_pid=os.getpid(),
        environment=environment,
        boot_id=CLOCK.boot_id(),
        looked_at_seconds=CLOCK.boottime(),
    )
    write_status(workspace.metadata, status)
    return status


@contextmanager
def supervised(workspace: Workspace) -> Iterator[None]:
    """Hold the lock of a supervisor."""
    with hold_lock(workspace.metadata / LOCK_NAME, command="supervise run", clock=CLOCK):
        yield


@pytest.mark.parametrize("state", SupervisorState)
def test_every_state_but_a_proved_one_is_a_reason_to_wait(
    workspace: Workspace, session: Session, state: SupervisorState
) -> None:
    with supervised(workspace):
        write_state(workspace, state)
        reason = reason_to_wait_for_supervisor(session)
    if state in WORKING_STATES:
        assert reason is None
        return
    assert reason is not None
    assert (reason.state, reason.is_temporary) == (state, state in CHANGING_STATES)
    assert reason.sentence.endswith(".")


def test_reason_has_a_code_and_a_next_step() -> None:
    now = "2026-12-01T00:00:00Z"
    status = SupervisorStatus(SupervisorState.GAVE_UP, now, now, port=8188, supervisor_pid=1)
    reason = find_wait_reason(status)
    assert reason is not None
    assert reason.code == "comfyui-gave-up"
    assert "supervise restart" in reason.next_step


def test_nothing_waits_for_a_supervisor_that_does_not_run(workspace: Workspace, session: Session) -> None:
    assert reason_to_wait_for_supervisor(session) is None
    write_state(workspace, SupervisorState.GAVE_UP)
    assert reason_to_wait_for_supervisor(session) is None
    assert read_supervisor(session) is None


def test_process_that_holds_the_gpu_outlives_its_supervisor(workspace: Workspace, session: Session) -> None:
    write_state(workspace, SupervisorState.HOST_NEEDS_REBOOT)
    reason = reason_to_wait_for_supervisor(session)
    assert reason is not None
    assert (reason.code, reason.is_temporary) == ("comfyui-host-needs-reboot", False)


def test_nothing_waits_without_a_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("COMFYGIT_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    session = Session(tmp_path / "home", None)
    assert reason_to_wait_for_supervisor(session) is None
    assert read_supervisor(session) is None


def test_invalid_configuration_is_not_a_missing_workspace(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYWATCHMAN_SUPERVISOR__PORT", "0")
    with pytest.raises(Failure, match="port"):
        reason_to_wait_for_supervisor(session)


def test_cycle_gets_state_and_evidence(workspace: Workspace, session: Session) -> None:
    with supervised(workspace):
        status = write_state(workspace, SupervisorState.SWITCHING)
        summary = read_supervisor(session)
    assert summary is not None
    assert (summary.state, summary.environment, summary.since) == ("switching", "main", status.since)
    assert (summary.is_working, summary.is_changing) == (False, True)
    assert summary.sentence == status.sentence


@pytest.mark.parametrize("environment", ["other", "deleted"])
def test_another_comfyui_is_not_reported(workspace: Workspace, session: Session, environment: str) -> None:
    with supervised(workspace):
        write_state(workspace, SupervisorState.READY, environment=environment)
        assert read_supervisor(session) is None


def test_state_of_a_damaged_file_is_unknown(workspace: Workspace, session: Session) -> None:
    with supervised(workspace):
        (workspace.metadata / "supervisor_status.json").write_text(json.dumps({"state": "flying"}))
        assert read_supervisor(session) is None
        reason = reason_to_wait_for_supervisor(session)
    assert reason is not None
    assert (reason.state, reason.is_temporary) == (SupervisorState.UNPROVEN, False)


def record(workspace: Workspace, at: str, *, blames_job: bool) -> None:
    incident = Incident(f"{at}-crash", at, "crash", "main", "none", "It ended.", blames_job=blames_job)
    record_incident(workspace.metadata, incident, workspace.root / "log", max_incidents=9)


def test_job_is_told_whether_it_ended_comfyui(workspace: Workspace, session: Session) -> None:
    began = parse_utc("2026-11-20T12:00:00Z")
    assert not has_job_ended_comfyui(session, began)
    record(workspace, "2026-11-20T11:59:59Z", blames_job=True)
    record(workspace, "2026-11-20T12:00:01Z", blames_job=False)
    assert not has_job_ended_comfyui(session, began)
    record(workspace, "2026-11-20T12:00:02Z", blames_job=True)
    assert has_job_ended_comfyui(session, began)
    # Times of incidents have no fractions of a second.
    assert has_job_ended_comfyui(session, parse_utc("2026-11-20T12:00:02Z").replace(microsecond=900_000))


def test_no_job_ends_a_comfyui_that_is_not_supervised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("COMFYGIT_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    assert not has_job_ended_comfyui(Session(tmp_path / "home", None), CLOCK.now())
