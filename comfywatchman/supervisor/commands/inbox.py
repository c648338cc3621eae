"""Takes commands for the supervisor, and answers each: it is carried out, waits for prompts, or is refused visibly."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final, Protocol

from comfywatchman.base.clock import Clock, format_utc
from comfywatchman.base.stop import StopEvent
from comfywatchman.supervisor.commands.answers import Phase, Reply, answer_command, build_refusal
from comfywatchman.supervisor.mailbox import CommandName, SupervisorCommand, discard_old_command, take_command
from comfywatchman.supervisor.publisher import StatusPublisher
from comfywatchman.supervisor.status import CommandRefusal

TICK_SECONDS: Final = 0.5
"""How often commands are looked for."""


class PromptCounter(Protocol):
    """A running ComfyUI that can be asked for its prompts."""

    @property
    def is_known_busy(self) -> bool:
        """Whether prompts ran or waited at the last look."""

    def count_prompts(self) -> int | None:
        """Return the number of running and waiting prompts now; None when unknown."""


class CommandInbox:
    """Takes the commands of one supervisor.

    Args:
        metadata: The `.metadata` folder.
        clock: The clocks.
        log: The program's log.
        publisher: Shows refusals and the command that waits.
    """

    def __init__(self, metadata: Path, clock: Clock, log: logging.Logger, publisher: StatusPublisher) -> None:
        self._metadata = metadata
        self._clock = clock
        self._log = log
        self._publisher = publisher
        self._waiting: SupervisorCommand | None = None

    def discard_old(self, *, limit_seconds: float) -> None:
        """Delete a command that was left for an earlier supervisor."""
        old = discard_old_command(self._metadata, limit_seconds=limit_seconds, clock=self._clock)
        if old is not None:
            self._log.info("old command discarded", extra={"command": old.command.value})

    def take(
        self, phase: Phase, *, current: str | None = None, comfyui: PromptCounter | None = None
    ) -> SupervisorCommand | None:
        """Return a command to carry out now; None without one.

        Args:
            phase: What the supervisor is doing.
            current: The environment that runs.
            comfyui: The running ComfyUI, for the number of its prompts.
        """
        command = self._take_next(phase)
        if command is None:
            return None
        if command is self._waiting and comfyui is not None and comfyui.is_known_busy:
            return None
        prompts = comfyui.count_prompts() if comfyui is not None else 0
        answer = answer_command(command, phase, prompts=prompts, current=current)
        self._set_waiting(command if answer.reply is Reply.WAIT else None)
        if answer.reply is Reply.REFUSE:
            self._refuse(command, answer.code, prompts=prompts)
        if answer.reply is not Reply.CARRY_OUT:
            return None
        self._publisher.refused = None
        self._log.info("command taken", extra={"command": command.command.value, "reason": command.reason})
        return command

    def wait(self, stop: StopEvent, seconds: float) -> SupervisorCommand | None:
        """Wait for a command while no ComfyUI runs; None when none came, or the supervisor is asked to end."""
        deadline = self._clock.monotonic() + seconds
        while not stop.is_set():
            command = self.take(Phase.IDLE)
            remaining_seconds = deadline - self._clock.monotonic()
            if command is not None or remaining_seconds <= 0:
                return command
            stop.wait(min(remaining_seconds, TICK_SECONDS))
        return None

    def _take_next(self, phase: Phase) -> SupervisorCommand | None:
        """Return the command to answer: a new one, else the one that waits."""
        command, waiting = take_command(self._metadata), self._waiting
        if command is None or waiting is None:
            return command or waiting
        self._set_waiting(None)
        self._refuse(waiting, "supervisor-command-replaced")
        is_withdrawal = command.command is CommandName.ABORT_SWITCH and phase is not Phase.SWITCHING
        return None if is_withdrawal else command

    def _set_waiting(self, command: SupervisorCommand | None) -> None:
        self._waiting = command
        self._publisher.waiting_command = command.command if command is not None else None

    def _refuse(self, command: SupervisorCommand, code: str, *, prompts: int | None = None) -> None:
        failure = build_refusal(command, code, prompts=prompts)
        self._log.warning("command refused", extra={"command": command.command.value, "code": code})
        self._publisher.refused = CommandRefusal(
            command=command.command,
            ordered_at=command.timestamp,
            at=format_utc(self._clock.now()),
            code=code,
            sentence=failure.message,
            next_step=failure.hint or "",
        )
