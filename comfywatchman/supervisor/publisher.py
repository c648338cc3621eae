"""Publishes the supervisor's status, to its file and to systemd: at each change, and often enough to stay believed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.clock import Clock, format_utc
from comfywatchman.base.host import notify_service_manager
from comfywatchman.supervisor.mailbox import CommandName
from comfywatchman.supervisor.memory_file import write_memory
from comfywatchman.supervisor.process_files import write_heartbeat
from comfywatchman.supervisor.restart_policy import RestartPolicy, StartHistory
from comfywatchman.supervisor.run import ComfyRun
from comfywatchman.supervisor.states import WAITING_STATES, WORKING_STATES, ProofKind, SupervisorState
from comfywatchman.supervisor.status import VALID_SECONDS, CommandRefusal, SupervisorStatus, write_status

_RENEW_SECONDS: Final = VALID_SECONDS / 6

StatusObserver = Callable[[SupervisorStatus], None]
"""Takes each status that is published: at each change, and every ten seconds without one."""


class ServiceNotifier:
    """An observer of the status that passes it on to systemd, as in sd_notify(3).

    Args:
        address: The value of `NOTIFY_SOCKET`; without one nothing is sent.
    """

    def __init__(self, address: str | None) -> None:
        self._address = address
        self._is_ready = False

    def __call__(self, status: SupervisorStatus) -> None:
        """Send the state as text, a sign of life, and `READY=1` at the first proof.

        A supervisor that waits for a person is started as well: `systemctl start` would wait with it, for ever.
        """
        # A line break would begin another assignment.
        text = " ".join(f"{status.sentence} {status.next_step}".split())
        lines = ["WATCHDOG=1", f"STATUS={text}"]
        is_proved = status.state in WORKING_STATES and status.proven_at is not None
        if not self._is_ready and (is_proved or _waits_for_person(status)):
            lines.insert(0, "READY=1")
            self._is_ready = True
        notify_service_manager("\n".join(lines), address=self._address)


def _waits_for_person(status: SupervisorStatus) -> bool:
    # Stopped without a reason is the end of the supervisor itself.
    return status.state in WAITING_STATES or (status.state is SupervisorState.STOPPED and bool(status.reason))


class StatusPublisher:
    """Writes the status file and the heartbeat of one supervisor.

    Args:
        metadata: The `.metadata` folder.
        clock: The clocks.
        port: The port of ComfyUI.
        policy: The start budget.
        proof: What makes ComfyUI ready.
        observers: Take each status before it is written.

    Attributes:
        last: The last published status.
        last_incident: Name of the last incident.
        waiting_command: A command that waits for prompts to end.
        refused: The last command, if it was refused.
    """

    def __init__(
        self,
        metadata: Path,
        clock: Clock,
        *,
        port: int,
        policy: RestartPolicy,
        proof: ProofKind = ProofKind.PROMPT,
        observers: Sequence[StatusObserver] = (),
    ) -> None:
        self._metadata = metadata
        self._clock = clock
        self._port = port
        self._policy = policy
        self._proof = proof
        self._observers = tuple(observers)
        self._began_at = clock.boottime()
        self._since = clock.now()
        self._written_at = -VALID_SECONDS
        self.last: SupervisorStatus | None = None
        self.last_incident: str | None = None
        self.waiting_command: CommandName | None = None
        self.refused: CommandRefusal | None = None

    def publish(
        self,
        state: SupervisorState,
        *,
        reason: str = "",
        detail: str = "",
        environment: str | None = None,
        run: ComfyRun | None = None,
        history: StartHistory | None = None,
        without_extra_arguments: bool = False,
    ) -> None:
        """Publish a state; one that has not changed is written again every few seconds only.

        Raises:
            Failure: `state-unwritable`.
        """
        last = self.last
        facts = (state, reason, detail, self.last_incident, self.waiting_command, self.refused)
        is_new = last is None or facts != _select_facts(last)
        if not is_new and self._clock.monotonic() - self._written_at < _RENEW_SECONDS:
            return
        if last is None or last.state is not state:
            self._since = self._clock.now()
        status = SupervisorStatus(
            state=state,
            reason=reason,
            detail=detail,
            environment=environment,
            since=format_utc(self._since),
            looked_at=format_utc(self._clock.now()),
            proof=self._proof,
            proven_at=self._format_proof(run),
            pid=run.process.main_pid if run is not None else None,
            port=self._port,
            supervisor_pid=os.getpid(),
            queue_length=self._read_queue_length(run),
            starts_in_window=len(history.starts) if history is not None else 0,
            max_starts=self._policy.max_starts,
            without_extra_arguments=without_extra_arguments,
            last_incident=self.last_incident,
            waiting_command=self.waiting_command,
            refused=self.refused,
            boot_id=self._clock.boot_id(),
            looked_at_seconds=self._clock.boottime(),
        )
        self._write(status)
        if run is not None:
            write_memory(self._metadata, run.curve.samples())

    def renew(self) -> None:
        """Write the last status again, with the present time, when that is due.

        Raises:
            Failure: `state-unwritable`.
        """
        if self.last is None or self._clock.monotonic() - self._written_at < _RENEW_SECONDS:
            return
        self._write(
            msgspec.structs.replace(
                self.last,
                looked_at=format_utc(self._clock.now()),
                looked_at_seconds=self._clock.boottime(),
                waiting_command=self.waiting_command,
                refused=self.refused,
            )
        )

    def _write(self, status: SupervisorStatus) -> None:
        # First: a full disk must not silence the watchdog, or systemd would kill a supervisor that works.
        for observe in self._observers:
            observe(status)
        write_status(self._metadata, status)
        write_heartbeat(self._metadata, uptime=self._clock.boottime() - self._began_at, clock=self._clock)
        self.last = status
        self._written_at = self._clock.monotonic()

    def _read_queue_length(self, run: ComfyRun | None) -> int | None:
        # A server whose port only is checked is not asked for its queue.
        if run is None or self._proof is ProofKind.CONNECTION:
            return None
        return run.signals.queue_length

    def _format_proof(self, run: ComfyRun | None) -> str | None:
        if run is None or run.signals.canary.proven_at is None:
            return None
        age_seconds = self._clock.monotonic() - run.signals.canary.proven_at
        return format_utc(datetime.fromtimestamp(self._clock.now().timestamp() - age_seconds, self._clock.now().tzinfo))


def _select_facts(status: SupervisorStatus) -> tuple[object, ...]:
    """Return the facts whose change is published at once."""
    return (
        status.state,
        status.reason,
        status.detail,
        status.last_incident,
        status.waiting_command,
        status.refused,
    )
