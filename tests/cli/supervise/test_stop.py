from __future__ import annotations

import json

import pytest

from comfywatchman.base.clock import SystemClock
from comfywatchman.base.errors import Failure
from comfywatchman.base.lock import hold_lock
from comfywatchman.supervisor.mailbox import CommandName, take_command
from comfywatchman.supervisor.status import LOCK_NAME
from tests.cli.supervise.calls import SupervisedWorkspace


def test_stop_needs_a_supervisor(idle: SupervisedWorkspace) -> None:
    result = idle("stop")
    assert isinstance(result.exception, Failure)
    assert result.exception.code == "supervisor-not-running"
    assert take_command(idle.metadata) is None


def test_stop_asks_the_supervisor_to_shut_down(idle: SupervisedWorkspace) -> None:
    with hold_lock(idle.metadata / LOCK_NAME, command="supervise run", clock=SystemClock()):
        result = idle("stop")
    assert result.exit_code == 0
    assert "asked to stop" in result.stdout
    command = take_command(idle.metadata)
    assert command is not None
    assert (command.command, command.reason) == (CommandName.SHUTDOWN, "supervise stop")


def test_stop_fails_when_the_supervisor_does_not_end_in_time(idle: SupervisedWorkspace) -> None:
    with hold_lock(idle.metadata / LOCK_NAME, command="supervise run", clock=SystemClock()):
        content = idle.json("stop", "--wait", "--timeout", "0", code=1)
    assert (content["command"], content["waited"], content["success"]) == ("stop", True, False)


@pytest.mark.slow
def test_stop_waits_for_the_end_of_the_supervisor(idle: SupervisedWorkspace) -> None:
    with idle.supervised() as child:
        idle.wait_for_state("ready")
        content = idle.json("stop", "--wait", "--timeout", "60")
        assert child.wait(60) == 0
    assert content["success"]
    assert json.loads((idle.metadata / "supervisor_status.json").read_text())["pid"] is None
