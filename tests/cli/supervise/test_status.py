from __future__ import annotations

import pytest

from comfywatchman.base.clock import SystemClock
from comfywatchman.supervisor.mailbox import SwitchState, write_switch_status
from comfywatchman.supervisor.states import SupervisorState
from comfywatchman.supervisor.status import SupervisorStatus, write_status
from tests.cli.supervise.calls import SupervisedWorkspace


def test_status_without_a_supervisor_exits_with_1(idle: SupervisedWorkspace) -> None:
    result = idle("status")
    assert result.exit_code == 1
    assert result.stdout.startswith("No supervisor has run for ")
    content = idle.json("status", code=1)
    assert (content["ready"], content["running"], content["supervisor"]) == (False, False, None)


def test_state_of_a_dead_supervisor_is_not_believed(idle: SupervisedWorkspace) -> None:
    status = SupervisorStatus(
        state=SupervisorState.READY,
        looked_at="2026-11-20T12:00:00Z",
        since="2026-11-20T11:00:00Z",
        port=8188,
        supervisor_pid=1,
        last_incident="20261120T110000Z-crash",
        without_extra_arguments=True,
    )
    write_status(idle.metadata, status)
    result = idle("status")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert "The supervisor no longer runs" in lines[0]
    assert "supervise logs" in lines[1]
    assert "Last incident: 20261120T110000Z-crash" in lines
    assert "Arguments:     without the configured ones" in lines


@pytest.mark.slow
def test_status_of_a_ready_comfyui(running: SupervisedWorkspace) -> None:
    result = running("status")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("ComfyUI is ready: a test prompt ran to its end.\n")
    assert "Environment:   main\n" in result.stdout
    content = running.json("status")
    assert content["ready"]
    assert content["workspace"] == str(running.workspace.root)
    assert content["supervisor"]["state"] == "ready"
    assert SystemClock().now().strftime("%Y") in content["supervisor"]["proven_at"]


def test_failed_switch_is_shown(idle: SupervisedWorkspace) -> None:
    status = SupervisorStatus(
        SupervisorState.GAVE_UP, "2026-11-20T12:00:00Z", "2026-11-20T11:00:00Z", port=8188, supervisor_pid=1
    )
    write_status(idle.metadata, status)
    write_switch_status(
        idle.metadata, SwitchState.CRITICAL_FAILURE, 100, "Neither environment became ready.", target_env="other"
    )
    result = idle("status")
    assert "Switch:        critical_failure, 100 %: Neither environment became ready.\n" in result.stdout
    assert "Prompts:       none\n" in result.stdout
    assert idle.json("status", code=1)["switch"]["target_env"] == "other"
