"""What the job agent gets from the other areas."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from comfywatchman.app.jobs import JobAgent, local_actor
from comfywatchman.app.session import Session
from comfywatchman.base.clock import SystemClock, format_utc
from comfywatchman.base.lock import hold_lock
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.jobs.records import WaitCode
from comfywatchman.supervisor.incidents import Incident, record_incident
from comfywatchman.supervisor.states import SupervisorState
from comfywatchman.supervisor.status import LOCK_NAME, SupervisorStatus, write_status
from tests.supervisor.workspaces import Workspace

CLOCK = SystemClock()


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobAgent:
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    monkeypatch.delenv("COMFYGIT_HOME", raising=False)
    (tmp_path / "person").mkdir()
    monkeypatch.chdir(tmp_path / "person")
    return JobAgent(Session(tmp_path / "home", None))


@contextmanager
def supervise(folder: Path, monkeypatch: pytest.MonkeyPatch, state: SupervisorState) -> Iterator[None]:
    """Let a supervisor run that has published a state."""
    workspace = Workspace(folder, "main")
    metadata = workspace.root / ".metadata"
    metadata.mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("COMFYWATCHMAN_SUPERVISOR__WORKSPACE", str(workspace.root))
    with hold_lock(metadata / LOCK_NAME, command="supervise run", clock=CLOCK):
        now = format_utc(CLOCK.now())
        status = SupervisorStatus(
            state,
            now,
            now,
            port=8188,
            supervisor_pid=os.getpid(),
            boot_id=CLOCK.boot_id(),
            looked_at_seconds=CLOCK.boottime(),
        )
        write_status(metadata, status)
        yield


def test_places_follow_the_home_folder(agent: JobAgent, tmp_path: Path) -> None:
    assert agent.settings.processing == tmp_path / "home" / "jobs" / "processing"
    assert agent.host
    with agent.open_store() as store:
        assert store.stats().total_jobs == 0
    assert (tmp_path / "home" / "state" / "jobs.db").is_file()


def test_idle_host_has_no_reason_to_wait(agent: JobAgent) -> None:
    services = agent.build_services()
    assert services.reason_to_wait() is None
    assert not services.can_supervise()
    assert services.ready_workflows() is None
    assert services.describe_models({}) == []
    assert services.was_restart_ordered(10.0) is False


def test_cycle_is_waited_for(agent: JobAgent) -> None:
    with hold_lock(agent.session.layout.cycle_lock, command="a cycle", clock=CLOCK):
        reason = agent.find_reason_to_wait()
    assert reason is not None
    assert reason.code is WaitCode.CYCLE_RUNNING
    assert "a cycle" in reason.sentence
    assert agent.find_reason_to_wait() is None


def test_change_of_the_environment_is_waited_for(agent: JobAgent) -> None:
    lock = GovLayout(agent.session.governed_root).process_lock
    with hold_lock(lock, command="gov tx run", clock=CLOCK):
        reason = agent.find_reason_to_wait()
    assert reason is not None
    assert reason.code is WaitCode.CANDIDATE_RUNNING


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (SupervisorState.STARTING, WaitCode.SUPERVISOR_NOT_READY),
        (SupervisorState.GAVE_UP, WaitCode.SUPERVISOR_NOT_READY),
        (SupervisorState.READY, None),
        (SupervisorState.BUSY, None),
    ],
)
def test_supervisor_that_is_not_ready_is_waited_for(
    agent: JobAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: SupervisorState, code: WaitCode | None
) -> None:
    with supervise(tmp_path / "ws", monkeypatch, state):
        reason = agent.find_reason_to_wait()
        assert agent.build_services().can_supervise()
    assert (None if reason is None else reason.code) is code


def test_restart_that_blames_no_prompt_does_not_count_against_the_job(
    agent: JobAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = tmp_path / "ws" / ".metadata"
    with supervise(tmp_path / "ws", monkeypatch, SupervisorState.READY):
        results = [agent.was_restart_ordered(60.0)]
        for age, blames_job in ((timedelta(hours=1), True), (timedelta(), False), (timedelta(), True)):
            at = format_utc(CLOCK.now() - age)
            name = f"{at}-{blames_job}"
            incident = Incident(name, at, "crash", "main", "none", "It ended.", blames_job=blames_job)
            record_incident(metadata, incident, tmp_path / "log", max_incidents=9)
            results.append(agent.was_restart_ordered(60.0))
    assert results == [True, True, True, False]
    assert not agent.was_restart_ordered(60.0), "no supervisor runs"


def test_changes_carry_the_name_of_the_account(monkeypatch: pytest.MonkeyPatch) -> None:
    assert local_actor().name == getpass.getuser()

    def fail() -> str:
        raise KeyError

    monkeypatch.setattr(getpass, "getuser", fail)
    assert local_actor().name == "unknown"
