"""Decides the answer to a command: carry it out, wait for prompts, or refuse it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.text import pluralize
from comfywatchman.supervisor.mailbox import CommandName, PromptPolicy, SupervisorCommand


class Phase(Enum):
    """What the supervisor is doing when a command arrives."""

    RUNNING = "running"
    """ComfyUI runs."""
    IDLE = "idle"
    """No ComfyUI runs: the supervisor gave up, or waits before the next start."""
    SWITCHING = "switching"
    STUCK = "stuck"
    """ComfyUI cannot be killed."""
    FOREIGN = "foreign"
    """Somebody else's ComfyUI is watched."""


class Reply(Enum):
    """The answer to a command."""

    CARRY_OUT = "carry_out"
    WAIT = "wait"
    """It is carried out when no prompt runs or waits any more."""
    REFUSE = "refuse"
    NOTHING = "nothing"
    """What it asks for is so already."""


@dataclass(frozen=True, slots=True)
class CommandAnswer:
    """The answer to a command; `code` says why it is refused."""

    reply: Reply
    code: str = ""


CARRY_OUT: Final = CommandAnswer(Reply.CARRY_OUT)
REFUSED_FOR_PROMPTS: Final = CommandAnswer(Reply.REFUSE, "supervisor-queue-not-empty")
_REFUSALS: Final = {
    Phase.SWITCHING: "supervisor-switch-running",
    Phase.STUCK: "supervisor-needs-reboot",
    Phase.FOREIGN: "supervisor-foreign-comfyui",
}


def answer_command(
    command: SupervisorCommand, phase: Phase, *, prompts: int | None = 0, current: str | None = None
) -> CommandAnswer:
    """Decide the answer to a command.

    Args:
        command: The command.
        phase: What the supervisor is doing.
        prompts: Running and waiting prompts of anybody; None when unknown.
        current: The environment that runs.
    """
    if command.command is CommandName.ABORT_SWITCH:
        is_switching = phase is Phase.SWITCHING
        return CARRY_OUT if is_switching else CommandAnswer(Reply.REFUSE, "supervisor-no-switch")
    if command.command is not CommandName.SHUTDOWN and phase in _REFUSALS:
        return CommandAnswer(Reply.REFUSE, _REFUSALS[phase])
    if phase is not Phase.RUNNING:
        return CARRY_OUT
    if command.target_env is not None and command.target_env == current:
        return CommandAnswer(Reply.NOTHING)
    return _answer_for_prompts(command, prompts)


def _answer_for_prompts(command: SupervisorCommand, prompts: int | None) -> CommandAnswer:
    """Decide the answer to a command that ends a running ComfyUI with its prompts."""
    if command.prompts is PromptPolicy.END or prompts == 0:
        return CARRY_OUT
    if command.prompts is PromptPolicy.WAIT:
        return CommandAnswer(Reply.WAIT)
    # A server that does not answer may hang, and then a restart or a stop is what helps.
    if prompts is None and command.command is not CommandName.SWITCH:
        return CARRY_OUT
    return REFUSED_FOR_PROMPTS


def build_refusal(command: SupervisorCommand, code: str, *, prompts: int | None = None) -> Failure:
    """Return a refusal in words.

    Args:
        command: The refused command.
        code: Why: that of a `CommandAnswer`, or `supervisor-command-replaced`.
        prompts: Running and waiting prompts; None when unknown.
    """
    name = command.command.value
    if code == REFUSED_FOR_PROMPTS.code:
        return build_queue_failure(name, prompts)
    message, hint = {
        "supervisor-switch-running": (
            f"A switch is under way, so {name} was refused.",
            "Wait until it has ended, or abort it: comfywatchman supervise abort",
        ),
        "supervisor-no-switch": (
            "There is no switch to abort.",
            "To go back after a switch, switch to the other environment.",
        ),
        "supervisor-needs-reboot": (
            f"ComfyUI's process cannot be killed, so {name} was refused.",
            "Reboot this machine.",
        ),
        "supervisor-foreign-comfyui": (
            f"Somebody else started the ComfyUI that is watched, so {name} was refused.",
            "Stop it yourself; the supervisor then starts its own.",
        ),
        "supervisor-command-replaced": (
            f"Another command came while {name} waited for prompts to end.",
            "Ask again if it is still needed.",
        ),
    }[code]
    return Failure(code, message, hint=hint)


def build_queue_failure(name: str, prompts: int | None) -> Failure:
    """Return the failure of a command that would end prompts.

    Args:
        name: The command.
        prompts: Their number; None when it is not known whether there are any.
    """
    what, lost = "It is not known whether prompts run or wait", "them"
    if prompts == 1:
        what, lost = "1 prompt runs or waits", "it"
    elif prompts is not None:
        what = f"{pluralize(prompts, 'prompt')} run or wait"
    return Failure(
        REFUSED_FOR_PROMPTS.code,
        f"{what} in ComfyUI; a {name} would lose {lost}.",
        hint=f"Wait for them with --wait-queue, or {name} all the same with --now.",
        facts={"prompts": prompts},
    )
