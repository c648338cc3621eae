"""Switches to another environment as a transaction: at its end the new one is proved ready, or the old one again."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

from comfywatchman.base.clock import Clock
from comfywatchman.base.errors import Failure
from comfywatchman.supervisor.mailbox import SwitchState, write_switch_status

RunT = TypeVar("RunT")

_LOG: Final = logging.getLogger("comfywatchman.supervisor")

_VALIDATING_FIRST: Final = 80
_VALIDATING_LAST: Final = 95
_TYPICAL_START_SECONDS: Final = 60.0


class ProofOutcome(Enum):
    """The end of the wait for a new process to become ready."""

    READY = "ready"
    FAILED = "failed"
    ABORTED = "aborted"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class Proof:
    """Whether a new process became ready, and why not, as a sentence."""

    outcome: ProofOutcome
    reason: str = ""


class SwitchHost(Protocol[RunT]):
    """The operations of the supervisor that a switch uses."""

    def check(self, name: str) -> None:
        """Raise a Failure when there is no such environment."""

    def prepare(self, name: str) -> None:
        """Bring an environment up to date; raise a Failure when that fails."""

    def start(self, name: str) -> RunT:
        """Start ComfyUI in an environment; raise a Failure when that fails."""

    def prove(self, run: RunT, report: Callable[[float, int], None], *, can_abort: bool) -> Proof:
        """Wait until a process is ready; `report` takes elapsed seconds and the number of looks."""

    def stop(self, run: RunT) -> bool:
        """Stop a process with its whole tree; return whether that was possible."""

    def activate(self, name: str) -> None:
        """Make an environment the current one; on return this survives a power cut."""

    def is_abort_requested(self) -> bool:
        """Return whether somebody asked to abort the switch."""

    def is_stopping(self) -> bool:
        """Return whether the supervisor was asked to end."""


@dataclass(frozen=True, slots=True)
class SwitchResult(Generic[RunT]):
    """The end of a switch.

    Attributes:
        state: A final state.
        run: The process that runs now; None when none does.
        environment: Its environment.
        reason: Why the switch failed, as a sentence; empty when it did not.
        is_stopping: Whether the supervisor was asked to end meanwhile.
        is_stuck: Whether the process that runs cannot be killed.
    """

    state: SwitchState
    run: RunT | None
    environment: str | None
    reason: str = ""
    is_stopping: bool = False
    is_stuck: bool = False


class SwitchTransaction(Generic[RunT]):
    """One switch.

    Args:
        host: The supervisor.
        metadata: The folder for the status of the switch.
        clock: The clocks.
        source: The environment that ran until now; None when none did.
        target: The environment to switch to.
    """

    def __init__(self, host: SwitchHost[RunT], metadata: Path, clock: Clock, source: str | None, target: str) -> None:
        self._host = host
        self._metadata = metadata
        self._clock = clock
        self._source = source
        self._target = target
        self._started_at = clock.now().timestamp()
        self._run: RunT | None = None

    def run(self) -> SwitchResult[RunT]:
        """Switch. ComfyUI is not running when this begins.

        The commit point is `activate`: before it a restart of the machine finds the old environment in use, after it
        the new one, and at each moment that environment was proved ready.
        """
        try:
            proof = self._try_target()
        except Failure as failure:
            proof = self._find_interruption() or Proof(ProofOutcome.FAILED, failure.message)
        if proof.outcome is ProofOutcome.READY and self._run is not None:
            message = f"ComfyUI runs in {self._target!r}."
            self._report(SwitchState.COMPLETE, 100, message)
            return SwitchResult(SwitchState.COMPLETE, self._run, self._target)
        if self._run is not None and not self._host.stop(self._run):
            return self._give_up_on(self._run, proof.reason)
        return self._roll_back(proof)

    def _try_target(self) -> Proof:
        self._report(SwitchState.PREPARING, 10, f"Checking the environment {self._target!r}.")
        self._host.check(self._target)
        self._report(SwitchState.SYNCING, 30, f"Bringing the environment {self._target!r} up to date.")
        self._host.prepare(self._target)
        interruption = self._find_interruption()
        if interruption is not None:
            return interruption
        self._report(SwitchState.STARTING, 60, f"Starting ComfyUI in {self._target!r}.")
        self._run = self._host.start(self._target)
        proof = self._host.prove(self._run, self._report_validating, can_abort=True)
        if proof.outcome is ProofOutcome.READY:
            self._host.activate(self._target)
        return proof

    def _find_interruption(self) -> Proof | None:
        """Return why the switch must not go on; None when it may."""
        is_aborted = self._host.is_abort_requested()
        if self._host.is_stopping():
            return Proof(ProofOutcome.STOPPING, "The supervisor was asked to end.")
        return Proof(ProofOutcome.ABORTED, "The switch was aborted.") if is_aborted else None

    def _roll_back(self, proof: Proof) -> SwitchResult[RunT]:
        """Start the old environment again, and prove it ready; the new process has ended."""
        if proof.outcome is ProofOutcome.STOPPING:
            self._report(SwitchState.FAILED, 100, "The supervisor was stopped during the switch.", error=proof.reason)
            return SwitchResult(SwitchState.FAILED, None, self._source, proof.reason, is_stopping=True)
        if self._source is None:
            self._report(SwitchState.FAILED, 100, "The switch failed.", error=proof.reason)
            return SwitchResult(SwitchState.FAILED, None, None, proof.reason)
        message = f"Rolling back to {self._source!r}: {proof.reason}"
        self._report(SwitchState.ROLLING_BACK, 90, message, error=proof.reason)
        try:
            back = self._start_source(self._source)
        except Failure as failure:
            return self._fail_critically(None, f"{proof.reason} Rolling back failed as well: {failure.message}")
        if back.outcome is ProofOutcome.STOPPING:
            self._report(SwitchState.FAILED, 100, "The supervisor was stopped during the switch.", error=proof.reason)
            return SwitchResult(SwitchState.FAILED, self._run, self._source, proof.reason, is_stopping=True)
        if back.outcome is not ProofOutcome.READY:
            return self._fail_critically(self._run, f"{proof.reason} Rolling back failed as well: {back.reason}")
        was_aborted = proof.outcome is ProofOutcome.ABORTED
        state = SwitchState.ABORTED if was_aborted else SwitchState.ROLLED_BACK
        self._report(state, 100, f"ComfyUI runs in {self._source!r} again: {proof.reason}", error=proof.reason)
        return SwitchResult(state, self._run, self._source, proof.reason)

    def _start_source(self, source: str) -> Proof:
        self._run = None
        self._run = self._host.start(source)
        # Only the new environment can be aborted: the old one is where an abort leads to.
        return self._host.prove(self._run, lambda _elapsed, _looks: None, can_abort=False)

    def _fail_critically(self, run: RunT | None, reason: str) -> SwitchResult[RunT]:
        if run is not None and not self._host.stop(run):
            return self._give_up_on(run, reason)
        message = "Neither environment became ready. Repair one of them, then run: comfywatchman supervise switch NAME"
        self._report(SwitchState.CRITICAL_FAILURE, 100, message, error=reason)
        return SwitchResult(SwitchState.CRITICAL_FAILURE, None, self._source, reason)

    def _report_validating(self, elapsed_seconds: float, looks: int) -> None:
        progress = compute_validation_progress(elapsed_seconds)
        message = f"Waiting until ComfyUI in {self._target!r} is proved ready ({elapsed_seconds:.0f} s)."
        self._report(SwitchState.VALIDATING, progress, message, elapsed_seconds=elapsed_seconds, attempt=looks)

    def _give_up_on(self, run: RunT, reason: str) -> SwitchResult[RunT]:
        """End with a process that cannot be killed: a second one would have to share the GPU with it."""
        message = "ComfyUI cannot be killed, so no other one can be started. Reboot this machine."
        self._report(SwitchState.CRITICAL_FAILURE, 100, message, error=reason)
        return SwitchResult(SwitchState.CRITICAL_FAILURE, run, self._source, reason, is_stuck=True)

    def _report(
        self,
        state: SwitchState,
        progress: int,
        message: str,
        *,
        error: str | None = None,
        elapsed_seconds: float | None = None,
        attempt: int | None = None,
    ) -> None:
        try:
            write_switch_status(
                self._metadata,
                state,
                progress,
                message,
                target_env=self._target,
                source_env=self._source,
                error=error or None,
                elapsed_seconds=elapsed_seconds,
                attempt=attempt,
                started_at=self._started_at,
                clock=self._clock,
            )
        except Failure as failure:
            # On a full disk pages see no progress; the switch, or the way back, must still come to its end.
            _LOG.warning("switch status not written", extra={"state": state.value, "detail": failure.message})


def compute_validation_progress(elapsed_seconds: float) -> int:
    """Return the progress of the wait for a proof: it starts at 80 %, slows down, and stays below 95 %."""
    span = _VALIDATING_LAST - _VALIDATING_FIRST
    return _VALIDATING_FIRST + math.floor(span * (1 - math.exp(-elapsed_seconds / _TYPICAL_START_SECONDS)))
