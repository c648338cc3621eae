"""Before a command that ends ComfyUI: are there prompts that it would end, and what is to happen to them?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from comfywatchman.app.supervisor_orders import (
    count_prompts,
    is_supervisor_running,
    name_order,
    refuse_lost_prompts,
)
from comfywatchman.base.clock import Clock
from comfywatchman.base.errors import Failure
from comfywatchman.base.text import pluralize
from comfywatchman.cli.supervise.live import show_line
from comfywatchman.cli.supervise.waiting import SUPERVISOR_ENDED, Ending, wait_for_ending
from comfywatchman.supervisor.commands.answers import build_queue_failure
from comfywatchman.supervisor.mailbox import CommandName, PromptPolicy
from comfywatchman.supervisor.status import read_status

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class WaitSettings:
    """How a command waits, and whether it shows a live line."""

    timeout_seconds: float
    is_shown: bool


def queue_options(command: CommandT) -> CommandT:
    """Add `--now` and `--wait-queue`."""
    command = click.option("--wait-queue", is_flag=True, help="Wait until no prompt runs or waits.")(command)
    return click.option("--now", is_flag=True, help="Do not wait for the prompts in the queue; they are lost.")(command)


def settle_queue(
    metadata: Path, clock: Clock, command: CommandName, settings: WaitSettings, *, now: bool, wait_queue: bool
) -> PromptPolicy:
    """Make sure that a command ends no prompt unasked, and return what it says about prompts that come meanwhile.

    Args:
        metadata: The `.metadata` folder.
        clock: The clocks.
        command: The command.
        settings: How to wait.
        now: Whether prompts may be lost.
        wait_queue: Whether to wait for them.

    Raises:
        Failure: `supervisor-queue-not-empty`; `supervisor-not-running` when the supervisor ends during the wait.
    """
    if now and wait_queue:
        raise click.UsageError("--now and --wait-queue exclude each other.")
    if now:
        return PromptPolicy.END
    if wait_queue:
        _wait_for_queue(metadata, clock, command, settings)
        return PromptPolicy.WAIT
    refuse_lost_prompts(metadata, clock, command)
    return PromptPolicy.REFUSE


def _wait_for_queue(metadata: Path, clock: Clock, command: CommandName, settings: WaitSettings) -> None:
    prompts: int | None = None

    def look() -> Ending | None:
        nonlocal prompts
        if not is_supervisor_running(metadata):
            return SUPERVISOR_ENDED
        prompts = count_prompts(read_status(metadata, clock))
        return Ending(True, "") if prompts == 0 else None

    def read_line() -> str:
        return f"Waiting for {pluralize(prompts, 'prompt') if prompts is not None else 'ComfyUI'} …"

    with show_line(read_line, is_shown=settings.is_shown):
        ending = wait_for_ending(look, timeout_seconds=settings.timeout_seconds, clock=clock)
    if ending is SUPERVISOR_ENDED:
        raise Failure("supervisor-not-running", ending.message, hint=ending.hint)
    if not ending.success:
        raise build_queue_failure(name_order(command), prompts)
