from __future__ import annotations

import logging
from collections.abc import Hashable
from dataclasses import dataclass, field
from threading import Event

import pytest

from comfywatchman.supervisor.health_policy import CanaryRecord, HealthLimits, PortState, judge_health
from comfywatchman.supervisor.monitor import (
    CanaryOutcome,
    CanaryReport,
    HealthMonitor,
    MonitorPace,
    QueueAnswer,
    record_canary,
)
from comfywatchman.supervisor.states import SupervisorState
from tests.fakes import FakeClock

RAN = CanaryReport(CanaryOutcome.RAN)
FAILED = CanaryReport(CanaryOutcome.FAILED, reason="No image came.")
SILENT = CanaryReport(CanaryOutcome.EVENTS_MISSING)
LIMITS = HealthLimits()


@dataclass
class ScriptedProbes:
    """Answers that a test sets."""

    port: PortState = PortState.OURS
    answers: bool = True
    queue: int | None = 0
    errs: bool = False
    counters: Hashable = 0
    report: CanaryReport = RAN
    canaries: int = 0
    looked: Event = field(default_factory=Event)

    def find_port_state(self) -> PortState:
        self.looked.set()
        return self.port

    def ask_stats(self) -> bool:
        return self.answers

    def ask_queue(self) -> QueueAnswer:
        return QueueAnswer(None, is_error=True) if self.errs else QueueAnswer(self.queue)

    def count_work(self) -> Hashable:
        return self.counters

    def run_canary(self) -> CanaryReport:
        self.canaries += 1
        return self.report


class Stage:
    """A monitor with a clock that the test moves."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.probes = ScriptedProbes()
        self.changes = 0
        self.monitor = HealthMonitor(
            self.probes, self.clock, LIMITS, MonitorPace(), log=logging.getLogger("test"), on_change=self.count_change
        )

    def count_change(self) -> None:
        self.changes += 1

    def look(self, times: int = 1, *, seconds: float = 2.0) -> SupervisorState:
        for _ in range(times):
            self.clock.advance(awake=seconds)
            self.monitor.look()
        return judge_health(self.monitor.signals, LIMITS, now_seconds=self.clock.monotonic()).state


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_ready_needs_three_answers_over_three_seconds_and_a_canary(stage: Stage) -> None:
    assert stage.look() is SupervisorState.SETTLING
    assert stage.look() is SupervisorState.SETTLING
    assert stage.probes.canaries == 0
    assert stage.look() is SupervisorState.READY
    assert stage.probes.canaries == 1


def test_missing_answer_begins_the_count_anew(stage: Stage) -> None:
    stage.look(2)
    stage.probes.answers = False
    stage.look()
    stage.probes.answers = True
    assert stage.look(2) is SupervisorState.SETTLING
    assert stage.look() is SupervisorState.READY


def test_errors_are_counted_from_the_first_one_and_forgotten_at_an_answer(stage: Stage) -> None:
    stage.probes.queue = 2
    stage.look(3)
    stage.probes.errs = True
    stage.look()
    began_at = stage.clock.monotonic()
    stage.look(2)
    signals = stage.monitor.signals
    assert (signals.errors_since, signals.queue_length, signals.known_queue_length) == (began_at, None, 2)
    stage.probes.errs = False
    stage.look()
    assert stage.monitor.signals.errors_since is None


def test_no_canary_runs_beside_work(stage: Stage) -> None:
    stage.probes.queue = 1
    assert stage.look(5) is SupervisorState.SETTLING
    assert stage.probes.canaries == 0


def test_canary_is_repeated_at_its_interval(stage: Stage) -> None:
    stage.look(3)
    stage.look(5, seconds=10)
    assert stage.probes.canaries == 1
    stage.look(1, seconds=10)
    assert stage.probes.canaries == 2


def test_failed_canary_is_repeated_soon(stage: Stage) -> None:
    stage.look(3)
    stage.probes.report = FAILED
    stage.look(1, seconds=60)
    assert stage.look(1, seconds=5) is SupervisorState.STALLED


def test_changed_counters_are_progress(stage: Stage) -> None:
    stage.look(3)
    before = stage.monitor.signals.progress_at
    stage.look(2)
    assert stage.monitor.signals.progress_at == before
    stage.probes.counters = 1
    stage.look()
    assert stage.monitor.signals.progress_at == stage.clock.monotonic()


def test_process_that_restarts_itself_must_be_proved_again(stage: Stage) -> None:
    stage.look(3)
    stage.probes.port = PortState.NOBODY
    assert stage.look() is SupervisorState.STARTING
    stage.probes.port = PortState.OURS
    assert stage.look() is SupervisorState.SETTLING
    assert stage.look(2) is SupervisorState.READY
    assert stage.probes.canaries == 2


def test_sleep_expires_the_proof_and_is_no_stall(stage: Stage) -> None:
    stage.look(3)
    stage.clock.advance(asleep=8 * 3600)
    stage.probes.report = CanaryReport(CanaryOutcome.NOT_RUN)
    assert stage.look() is SupervisorState.UNPROVEN
    stage.probes.report = RAN
    assert stage.look(1, seconds=6) is SupervisorState.READY


def test_server_without_an_answer_is_not_ready(stage: Stage) -> None:
    stage.look(3)
    stage.probes.queue = None
    assert stage.look() is SupervisorState.UNPROVEN


def test_success_ends_a_series_of_failures() -> None:
    failed = record_canary(CanaryRecord(proven_at=1.0), FAILED, now_seconds=2.0)
    assert record_canary(failed, FAILED, now_seconds=3.0) == CanaryRecord(proven_at=1.0, failures=2)
    assert record_canary(failed, RAN, now_seconds=4.0) == CanaryRecord(proven_at=4.0)


def test_missing_events_keep_the_client_that_does_not_read() -> None:
    report = CanaryReport(CanaryOutcome.EVENTS_MISSING, unread_client="10.0.0.9:4000")
    record = record_canary(CanaryRecord(proven_at=1.0, failures=1), report, now_seconds=2.0)
    assert record == CanaryRecord(proven_at=1.0, event_failures=1, unread_client="10.0.0.9:4000")


def test_canary_that_did_not_run_changes_nothing() -> None:
    record = CanaryRecord(proven_at=1.0, failures=1)
    assert record_canary(record, CanaryReport(CanaryOutcome.NOT_RUN), now_seconds=2.0) == record


def test_thread_looks_reports_and_survives_a_broken_probe(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    changed = Event()

    def break_probe() -> PortState:
        raise OSError("no /proc")

    stage.probes.find_port_state = break_probe  # type: ignore[method-assign]
    monitor = HealthMonitor(
        stage.probes, stage.clock, LIMITS, MonitorPace(), log=logging.getLogger("test"), on_change=changed.set
    )
    monitor.start()
    assert changed.wait(60)
    monitor.stop()
    assert "health look failed" in caplog.text
