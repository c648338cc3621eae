"""Looks at a running ComfyUI from a thread of its own, so that a server that hangs never holds up the supervisor."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, Protocol

from comfywatchman.base.clock import Clock
from comfywatchman.supervisor.health_policy import CanaryRecord, HealthLimits, HealthSignals, PortState, is_steady

_JOIN_SECONDS: Final = 0.5
_SLEEP_SECONDS: Final = 5.0
"""The least difference of boot clock and monotonic clock that is a sleep."""


class CanaryOutcome(Enum):
    """The end of a test prompt."""

    RAN = "ran"
    FAILED = "failed"
    EVENTS_MISSING = "events_missing"
    NOT_RUN = "not_run"


@dataclass(frozen=True, slots=True)
class CanaryReport:
    """A test prompt.

    Attributes:
        outcome: Its end; `NOT_RUN` when the queue was not empty after all.
        unread_client: The address of a client that does not read its events, if one was seen.
        reason: Why it failed, as a sentence; empty when it did not.
    """

    outcome: CanaryOutcome
    unread_client: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class QueueAnswer:
    """The answer to the question for the queue.

    Attributes:
        length: Running and waiting prompts; None when unknown.
        is_error: Whether the server did answer, but not as a ComfyUI that works does, such as with HTTP status 500.
    """

    length: int | None = None
    is_error: bool = False


class ServerProbes(Protocol):
    """Probes of a running ComfyUI; each returns within a few seconds and raises nothing."""

    def find_port_state(self) -> PortState:
        """Return who listens at its port."""

    def ask_stats(self) -> bool:
        """Return whether `/system_stats` answers as ComfyUI does."""

    def ask_queue(self) -> QueueAnswer:
        """Return the number of running and waiting prompts."""

    def count_work(self) -> Hashable:
        """Return the counters of work; any change of them is progress."""

    def run_canary(self) -> CanaryReport:
        """Run a test prompt to its end."""


@dataclass(frozen=True, slots=True)
class MonitorPace:
    """How often the monitor looks, in seconds.

    Attributes:
        startup: Between two looks until the first proof.
        idle: Between two looks afterwards.
        canary: Between two test prompts.
        canary_retry: Before a failed test prompt is repeated.
    """

    startup: float = 1.0
    idle: float = 10.0
    canary: float = 60.0
    canary_retry: float = 5.0


class HealthMonitor:
    """Keeps the signals of one ComfyUI process up to date.

    Args:
        probes: The probes of the process.
        clock: The clocks.
        limits: The limits of the decisions, which say when a server has settled.
        pace: How often to look.
        job_deadline_seconds: How long a running prompt may go without progress.
        log: The program's log.
        on_change: Called from the monitor's thread after each look.
    """

    def __init__(
        self,
        probes: ServerProbes,
        clock: Clock,
        limits: HealthLimits,
        pace: MonitorPace,
        *,
        job_deadline_seconds: float = 1800.0,
        log: logging.Logger,
        on_change: Callable[[], None],
    ) -> None:
        self._probes = probes
        self._log = log
        self._clock = clock
        self._limits = limits
        self._pace = pace
        self._on_change = on_change
        self._stop = threading.Event()
        self._counters: Hashable = None
        self._canary_due_at = 0.0
        self._slept_seconds = clock.boottime() - clock.monotonic()
        self.last_report: CanaryReport | None = None
        now_seconds = clock.monotonic()
        self.signals = HealthSignals(
            started_at=now_seconds,
            port=PortState.NOBODY,
            progress_at=now_seconds,
            job_deadline_seconds=job_deadline_seconds,
        )
        # A daemon: a probe that hangs in the kernel must not keep the supervisor from ending.
        self._thread = threading.Thread(target=self._run, name="health-monitor", daemon=True)

    def start(self) -> None:
        """Start looking."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking; a probe under way is not waited for."""
        self._stop.set()
        self._thread.join(_JOIN_SECONDS)

    def look(self) -> None:
        """Look once."""
        self._expire_proof_after_sleep()
        signals = self._look_at_work(self.signals)
        if signals.port is PortState.OURS:
            signals = self._look_at_server(signals)
        self.signals = signals
        if self._is_canary_due(signals):
            self.signals = self._run_canary(signals)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.look()
            except Exception:  # noqa: BLE001 - the edge of a loop that must not die
                # Going on is right: without a monitor the state would be claimed from old signals for ever.
                self._log.exception("health look failed")
            self._on_change()
            is_proved = self.signals.canary.proven_at is not None
            self._stop.wait(self._pace.idle if is_proved and not self.signals.canary.failures else self._pace.startup)

    @property
    def has_slept(self) -> bool:
        """Whether the machine slept since the last look began."""
        return self._count_slept_seconds() - self._slept_seconds >= _SLEEP_SECONDS

    def _count_slept_seconds(self) -> float:
        return self._clock.boottime() - self._clock.monotonic()

    def _expire_proof_after_sleep(self) -> None:
        """Expire the proof when the machine slept: CUDA may fail permanently after a suspend."""
        if not self.has_slept:
            return
        if self.signals.canary.proven_at is not None:
            self._canary_due_at = 0.0
            expired_at = self._clock.monotonic() - self._limits.proof - 1
            # At once, for this look may take long.
            self.signals = replace(self.signals, canary=replace(self.signals.canary, proven_at=expired_at))
        self._slept_seconds = self._count_slept_seconds()

    def _look_at_work(self, signals: HealthSignals) -> HealthSignals:
        port = self._probes.find_port_state()
        counters = self._probes.count_work()
        has_progress = counters != self._counters
        self._counters = counters
        now_seconds = self._clock.monotonic()
        if signals.port is PortState.OURS and port is PortState.NOBODY:
            # The process restarted itself, as ComfyUI-Manager does by exec: what was proved is over.
            self._canary_due_at = 0.0
            return HealthSignals(
                started_at=now_seconds,
                port=port,
                progress_at=now_seconds,
                job_deadline_seconds=signals.job_deadline_seconds,
            )
        return replace(signals, port=port, progress_at=now_seconds if has_progress else signals.progress_at)

    def _look_at_server(self, signals: HealthSignals) -> HealthSignals:
        queue = self._probes.ask_queue()
        is_answering = queue.length is not None
        if not is_steady(signals, self._limits):
            is_answering = self._probes.ask_stats()
            signals = self._count_answer(signals, is_answering=is_answering)
        now_seconds = self._clock.monotonic()
        errors_since = None
        if queue.is_error:
            errors_since = now_seconds if signals.errors_since is None else signals.errors_since
        elif is_answering:
            signals = replace(signals, answered_at=now_seconds)
        if queue.length is not None:
            signals = replace(signals, known_queue_length=queue.length)
        return replace(signals, queue_length=queue.length, errors_since=errors_since)

    def _count_answer(self, signals: HealthSignals, *, is_answering: bool) -> HealthSignals:
        """Count an answer during the start; one that is missing begins the count anew."""
        if not is_answering:
            return replace(signals, steady_answers=0, steady_since=None)
        since = signals.steady_since if signals.steady_since is not None else self._clock.monotonic()
        return replace(signals, steady_answers=signals.steady_answers + 1, steady_since=since)

    def _is_canary_due(self, signals: HealthSignals) -> bool:
        """Return whether to run a test prompt: only on a settled server with an empty queue."""
        if signals.port is not PortState.OURS or signals.queue_length != 0:
            return False
        return is_steady(signals, self._limits) and self._clock.monotonic() >= self._canary_due_at

    def _run_canary(self, signals: HealthSignals) -> HealthSignals:
        report = self._probes.run_canary()
        self.last_report = report
        now_seconds = self._clock.monotonic()
        canary = record_canary(signals.canary, report, now_seconds=now_seconds)
        has_failed = report.outcome is not CanaryOutcome.RAN
        self._canary_due_at = now_seconds + (self._pace.canary_retry if has_failed else self._pace.canary)
        return replace(signals, canary=canary)


def record_canary(record: CanaryRecord, report: CanaryReport, *, now_seconds: float) -> CanaryRecord:
    """Return the record of test prompts with one more."""
    if report.outcome is CanaryOutcome.RAN:
        return CanaryRecord(proven_at=now_seconds)
    if report.outcome is CanaryOutcome.EVENTS_MISSING:
        # HTTP worked, so the failures over HTTP are over.
        missing = record.event_failures + 1
        return replace(record, failures=0, event_failures=missing, unread_client=report.unread_client)
    if report.outcome is CanaryOutcome.FAILED:
        return replace(record, failures=record.failures + 1)
    return record
