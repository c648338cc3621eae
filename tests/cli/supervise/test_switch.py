from __future__ import annotations

import re

import pytest

from tests.cli.supervise.calls import SupervisedWorkspace, held, interrupt_later, submit_endless_prompt

pytestmark = pytest.mark.slow


def test_switch_there_and_back(running: SupervisedWorkspace) -> None:
    # Long enough for the terminal to show it.
    with held(running, "other", seconds=3.0):
        screen = running.on_a_terminal("switch", "other", "--wait", "--timeout", "100")
    assert re.search(r"8\d %: Waiting until ComfyUI in 'other' is", screen)
    assert "ComfyUI runs in 'other'." in screen
    # At once: the state is published a moment later.
    assert running("switch", "other", "--wait").stdout == "ComfyUI already runs in 'other'.\n"
    content = running.json("switch", "main", "--wait", "--timeout", "60")
    assert content["success"]
    assert content["supervisor"]["environment"] == "main"
    running.wait_for_state("ready")


def test_unknown_environment_is_refused(running: SupervisedWorkspace) -> None:
    result = running("switch", "nowhere")
    assert "nowhere" in str(result.exception)
    assert not (running.metadata / ".cmd").exists()


def test_switch_waits_for_prompts_and_goes_back_when_it_fails(running: SupervisedWorkspace) -> None:
    submit_endless_prompt(running)
    result = running("switch", "other")
    assert result.exit_code == 1
    assert "1 prompt runs or waits in ComfyUI" in str(result.exception)
    assert running("switch", "other", "--wait-queue", "--timeout", "0.1").exit_code == 1
    # Once the prompt has ended, the switch begins; it fails, and ComfyUI goes back.
    interrupt_later(running)
    result = running("switch", "broken", "--wait-queue", "--wait", "--timeout", "60")
    assert result.exit_code == 1
    assert "ComfyUI runs in 'main' again: ComfyUI exited with status 3" in result.stderr
    assert running.wait_for_state("ready")["environment"] == "main"
    assert "broken" in running("incidents").stdout
    assert "cannot start" in running("incidents", "last").stdout
