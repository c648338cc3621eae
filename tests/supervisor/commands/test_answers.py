from __future__ import annotations

import pytest

from comfywatchman.supervisor.commands.answers import (
    CARRY_OUT,
    REFUSED_FOR_PROMPTS,
    CommandAnswer,
    Phase,
    Reply,
    answer_command,
    build_queue_failure,
    build_refusal,
)
from comfywatchman.supervisor.mailbox import CommandName, PromptPolicy, SupervisorCommand

RESTART = SupervisorCommand(CommandName.RESTART, 1000.0)
STOP = SupervisorCommand(CommandName.SHUTDOWN, 1000.0)
ABORT = SupervisorCommand(CommandName.ABORT_SWITCH, 1000.0)
SWITCH = SupervisorCommand(CommandName.SWITCH, 1000.0, target_env="other")
WAIT = CommandAnswer(Reply.WAIT)


def with_policy(command: SupervisorCommand, policy: PromptPolicy) -> SupervisorCommand:
    return SupervisorCommand(command.command, command.timestamp, target_env=command.target_env, prompts=policy)


@pytest.mark.parametrize(
    ("policy", "prompts", "expected"),
    [
        (PromptPolicy.REFUSE, 0, CARRY_OUT),
        (PromptPolicy.REFUSE, 2, REFUSED_FOR_PROMPTS),
        (PromptPolicy.WAIT, 0, CARRY_OUT),
        (PromptPolicy.WAIT, 2, WAIT),
        (PromptPolicy.WAIT, None, WAIT),
        (PromptPolicy.END, 2, CARRY_OUT),
        (PromptPolicy.END, None, CARRY_OUT),
    ],
)
@pytest.mark.parametrize("command", [RESTART, STOP, SWITCH])
def test_command_ends_no_prompt_unasked(
    command: SupervisorCommand, policy: PromptPolicy, prompts: int | None, expected: CommandAnswer
) -> None:
    assert answer_command(with_policy(command, policy), Phase.RUNNING, prompts=prompts, current="main") == expected


def test_hung_server_can_be_restarted_and_stopped_but_not_switched() -> None:
    assert answer_command(RESTART, Phase.RUNNING, prompts=None) == CARRY_OUT
    assert answer_command(STOP, Phase.RUNNING, prompts=None) == CARRY_OUT
    assert answer_command(SWITCH, Phase.RUNNING, prompts=None) == REFUSED_FOR_PROMPTS


@pytest.mark.parametrize("phase", [Phase.IDLE, Phase.SWITCHING, Phase.STUCK, Phase.FOREIGN])
def test_stop_is_carried_out_at_any_time(phase: Phase) -> None:
    assert answer_command(STOP, phase) == CARRY_OUT


@pytest.mark.parametrize("command", [RESTART, SWITCH])
@pytest.mark.parametrize(
    ("phase", "code"),
    [
        (Phase.SWITCHING, "supervisor-switch-running"),
        (Phase.STUCK, "supervisor-needs-reboot"),
        (Phase.FOREIGN, "supervisor-foreign-comfyui"),
    ],
)
def test_command_that_cannot_be_carried_out_now_is_refused(command: SupervisorCommand, phase: Phase, code: str) -> None:
    answer = answer_command(command, phase)
    assert (answer.reply, answer.code) == (Reply.REFUSE, code)
    assert build_refusal(command, code).code == code


@pytest.mark.parametrize("command", [RESTART, SWITCH])
def test_idle_supervisor_starts_comfyui_again(command: SupervisorCommand) -> None:
    assert answer_command(command, Phase.IDLE) == CARRY_OUT


@pytest.mark.parametrize("phase", Phase)
def test_only_a_switch_can_be_aborted(phase: Phase) -> None:
    expected = CARRY_OUT if phase is Phase.SWITCHING else CommandAnswer(Reply.REFUSE, "supervisor-no-switch")
    assert answer_command(ABORT, phase) == expected


def test_switch_to_where_comfyui_is_does_nothing() -> None:
    assert answer_command(SWITCH, Phase.RUNNING, prompts=3, current="other").reply is Reply.NOTHING
    # It may be what repairs the environment that gave up.
    assert answer_command(SWITCH, Phase.IDLE, current="other") == CARRY_OUT


@pytest.mark.parametrize(
    "code",
    [
        "supervisor-queue-not-empty",
        "supervisor-switch-running",
        "supervisor-no-switch",
        "supervisor-needs-reboot",
        "supervisor-foreign-comfyui",
        "supervisor-command-replaced",
    ],
)
def test_each_refusal_has_a_sentence_and_a_next_step(code: str) -> None:
    refusal = build_refusal(RESTART, code, prompts=1)
    assert refusal.code == code
    assert refusal.message.endswith(".")
    assert refusal.hint


@pytest.mark.parametrize(
    ("prompts", "start"),
    [(1, "1 prompt runs or waits"), (2, "2 prompts run or wait"), (None, "It is not known whether prompts")],
)
def test_refusal_names_the_number_of_prompts(prompts: int | None, start: str) -> None:
    failure = build_queue_failure("restart", prompts)
    assert failure.message.startswith(start)
    assert failure.facts == {"prompts": prompts}
