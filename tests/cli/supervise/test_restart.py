from __future__ import annotations

import pytest

from comfywatchman.supervisor.mailbox import SwitchState, write_switch_status
from tests.cli.supervise.calls import SupervisedWorkspace, interrupt_later, submit_endless_prompt
from tests.supervisor.programs import wait_until


def test_restart_needs_a_supervisor(idle: SupervisedWorkspace) -> None:
    result = idle("restart")
    assert result.exit_code == 1
    assert "No supervisor runs" in str(result.exception)
    assert not (idle.metadata / ".cmd").exists()


@pytest.mark.slow
def test_restart_waits_for_the_next_proof(running: SupervisedWorkspace) -> None:
    before = running.read_status()["pid"]
    content = running.json("restart", "--wait", "--timeout", "60")
    assert content["success"]
    assert content["supervisor"]["state"] in {"ready", "busy"}
    assert content["supervisor"]["pid"] != before


@pytest.mark.slow
def test_restart_loses_no_prompt_unasked(running: SupervisedWorkspace) -> None:
    submit_endless_prompt(running)
    result = running("restart")
    assert result.exit_code == 1
    assert "1 prompt runs or waits in ComfyUI; a restart would lose it." in str(result.exception)
    interrupt_later(running)
    content = running.json("restart", "--wait-queue", "--wait", "--timeout", "60")
    assert content["success"]
    assert content["supervisor"]["refused"] is None


@pytest.mark.slow
def test_restart_without_wait_is_accepted(running: SupervisedWorkspace) -> None:
    before = running.wait_for_state("ready")["pid"]
    result = running("restart")
    assert result.exit_code == 0
    assert "The supervisor was asked to restart." in result.stdout
    assert wait_until(lambda: running.read_status().get("pid") not in {None, before})
    running.wait_for_state("ready")


@pytest.mark.slow
def test_restart_is_refused_during_a_switch(running: SupervisedWorkspace) -> None:
    write_switch_status(running.metadata, SwitchState.VALIDATING, 85, "Waiting.", target_env="other")
    try:
        result = running("restart")
    finally:
        (running.metadata / ".switch_status.json").unlink()
    assert result.exit_code == 1
    assert "A switch to 'other' is under way (85 %)" in str(result.exception)
