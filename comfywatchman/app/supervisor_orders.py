"""Orders to the supervisor, from the commands of `supervise` and from the page, and what must hold before."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from comfywatchman.base.clock import Clock
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path
from comfywatchman.base.lock import is_held
from comfywatchman.comfyui.server.listening import LOOPBACK
from comfywatchman.supervisor.commands.answers import build_queue_failure
from comfywatchman.supervisor.mailbox import (
    FINAL_SWITCH_STATES,
    CommandName,
    PromptPolicy,
    SupervisorCommand,
    SwitchState,
    read_switch_status,
    write_command,
)
from comfywatchman.supervisor.status import LOCK_NAME, SupervisorStatus, read_status

if TYPE_CHECKING:
    from comfywatchman.supervisor.workspace import EnvironmentSet


def is_supervisor_running(metadata: Path) -> bool:
    """Return whether a supervisor runs for a workspace."""
    return is_held(metadata / LOCK_NAME)


def require_supervisor(environments: EnvironmentSet) -> None:
    """Raise unless a supervisor runs that could take an order.

    Raises:
        Failure: `supervisor-not-running`.
    """
    if is_supervisor_running(environments.metadata):
        return
    raise Failure(
        "supervisor-not-running",
        f"No supervisor runs for {printable_path(environments.root)}.",
        hint="Start one: comfywatchman supervise run, or as a service: comfywatchman install-service --supervisor",
    )


def refuse_during_switch(metadata: Path) -> None:
    """Raise while a switch is under way: the supervisor takes only an abort or a stop meanwhile.

    Raises:
        Failure: `supervisor-switch-running`.
    """
    switch = read_switch_status(metadata)
    if switch is None or switch.state in FINAL_SWITCH_STATES or switch.state is SwitchState.IDLE:
        return
    raise Failure(
        "supervisor-switch-running",
        f"A switch to {switch.target_env!r} is under way ({switch.progress} %): {switch.message}",
        hint="Wait until it has ended, or abort it: comfywatchman supervise abort",
    )


def count_prompts(status: SupervisorStatus | None) -> int | None:
    """Return the number of running and waiting prompts, 0 without a ComfyUI; None when it is not known.

    The server is asked now: the published number may be some seconds old.
    """
    from comfywatchman.comfyui.server.probes import read_queue_length

    if status is None or status.pid is None:
        return 0
    try:
        return read_queue_length(f"http://{LOOPBACK}:{status.port}", timeout_seconds=5.0)
    except Failure:
        return status.queue_length


def refuse_lost_prompts(metadata: Path, clock: Clock, command: CommandName) -> None:
    """Raise when a command would end prompts that run or wait.

    Raises:
        Failure: `supervisor-queue-not-empty`.
    """
    prompts = count_prompts(read_status(metadata, clock))
    # A server that does not answer may hang, and then a restart or a stop is what helps.
    if prompts or (prompts is None and command is CommandName.SWITCH):
        raise build_queue_failure(name_order(command), prompts)


def name_order(command: CommandName) -> str:
    """Return the name of an order as the command line has it."""
    return "stop" if command is CommandName.SHUTDOWN else command.value


def give_order(
    environments: EnvironmentSet,
    clock: Clock,
    command: CommandName,
    *,
    prompts: PromptPolicy,
    target: str | None = None,
) -> SupervisorCommand:
    """Give the supervisor an order, as the command line does without waiting for its end.

    Args:
        environments: The supervised environments.
        clock: The clock.
        command: The order.
        prompts: What happens to prompts that run or wait.
        target: The environment to switch to.

    Raises:
        Failure: `supervisor-not-running`, `supervisor-switch-running`, `supervisor-environment-unknown`,
            `supervisor-queue-not-empty` or `state-unwritable`.
    """
    require_supervisor(environments)
    if command in {CommandName.RESTART, CommandName.SWITCH}:
        refuse_during_switch(environments.metadata)
    if target is not None:
        environments.get(target)
    if prompts is PromptPolicy.REFUSE:
        refuse_lost_prompts(environments.metadata, clock, command)
    reason = f"supervise {name_order(command)}"
    return write_command(environments.metadata, command, reason=reason, target_env=target, prompts=prompts, clock=clock)
