from __future__ import annotations

from collections.abc import Iterator

import pytest

from comfywatchman.base.clock import SystemClock
from comfywatchman.base.errors import Failure
from comfywatchman.base.lock import hold_lock
from comfywatchman.supervisor.mailbox import (
    CommandName,
    SwitchState,
    take_command,
    write_switch_status,
)
from comfywatchman.supervisor.status import LOCK_NAME
from tests.cli.supervise.calls import SupervisedWorkspace, held, is_switching
from tests.supervisor.programs import wait_until


@pytest.fixture
def locked(idle: SupervisedWorkspace) -> Iterator[SupervisedWorkspace]:
    """A workspace whose supervisor's lock is held, so that orders are accepted."""
    with hold_lock(idle.metadata / LOCK_NAME, command="supervise run", clock=SystemClock()):
        yield idle


def test_abort_needs_a_supervisor(idle: SupervisedWorkspace) -> None:
    write_switch_status(idle.metadata, SwitchState.STARTING, 70, "Starting.", target_env="other")
    result = idle("abort")
    assert isinstance(result.exception, Failure)
    assert result.exception.code == "supervisor-not-running"


@pytest.mark.parametrize("state", [None, SwitchState.COMPLETE, SwitchState.ABORTED, SwitchState.ROLLED_BACK])
def test_abort_is_refused_without_a_switch_under_way(locked: SupervisedWorkspace, state: SwitchState | None) -> None:
    if state is not None:
        write_switch_status(locked.metadata, state, 100, "Over.", target_env="other")
    result = locked("abort")
    assert isinstance(result.exception, Failure)
    assert result.exception.code == "supervisor-no-switch"
    assert take_command(locked.metadata) is None


def test_abort_asks_the_supervisor_to_go_back(locked: SupervisedWorkspace) -> None:
    write_switch_status(locked.metadata, SwitchState.STARTING, 70, "Starting.", target_env="other")
    assert not locked.json("abort")["waited"]
    command = take_command(locked.metadata)
    assert command is not None
    assert command.command is CommandName.ABORT_SWITCH


@pytest.mark.slow
def test_switch_can_be_aborted(running: SupervisedWorkspace) -> None:
    assert "No switch" in str(running("abort").exception)
    with held(running, "other"):
        assert running("switch", "other").exit_code == 0
        assert wait_until(lambda: is_switching(running))
        result = running("abort", "--wait", "--timeout", "60")
    assert result.exit_code == 0, result.output
    assert running.wait_for_state("ready")["environment"] == "main"
