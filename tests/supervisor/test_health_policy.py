from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfywatchman.supervisor.health_policy import (
    CanaryRecord,
    HealthLimits,
    HealthReason,
    HealthSignals,
    HealthVerdict,
    PortState,
    Remedy,
    judge_health,
)
from comfywatchman.supervisor.states import ProofKind, SupervisorState

LIMITS = HealthLimits()
STARTED = HealthSignals(started_at=0.0, port=PortState.NOBODY, progress_at=0.0)
STEADY = replace(
    STARTED, port=PortState.OURS, progress_at=9.0, steady_answers=3, steady_since=5.0, answered_at=9.0, queue_length=0
)
PROVED = replace(STEADY, canary=CanaryRecord(proven_at=10.0))


def judge(signals: HealthSignals, *, now: float = 10.0) -> HealthVerdict:
    return judge_health(signals, LIMITS, now_seconds=now)


def test_process_that_does_not_listen_yet_is_starting() -> None:
    assert judge(STARTED) == HealthVerdict(SupervisorState.STARTING, HealthReason.NOT_LISTENING)


def test_proof_by_connections_has_a_reason_of_its_own() -> None:
    limits = replace(LIMITS, kind=ProofKind.CONNECTION)
    verdict = judge_health(PROVED, limits, now_seconds=10.0)
    assert verdict == HealthVerdict(SupervisorState.READY, HealthReason.PORT_ACCEPTS)


def test_slow_start_with_progress_is_left_alone() -> None:
    slow = replace(STARTED, progress_at=1690.0)
    assert judge(slow, now=1700.0).state is SupervisorState.STARTING


def test_start_without_progress_is_restarted() -> None:
    verdict = judge(STARTED, now=121.0)
    assert (verdict.reason, verdict.remedy) == (HealthReason.NO_STARTUP_PROGRESS, Remedy.RESTART)


def test_start_has_a_far_limit() -> None:
    verdict = judge(replace(STARTED, progress_at=1800.5), now=1801.0)
    assert (verdict.reason, verdict.remedy) == (HealthReason.STARTUP_LIMIT, Remedy.RESTART)


@pytest.mark.parametrize(
    "unsteady",
    [
        replace(STEADY, steady_answers=2),
        replace(STEADY, steady_since=6.5),
        replace(STEADY, steady_since=None),
        replace(STEADY, answered_at=None),
    ],
)
def test_few_or_quick_answers_do_not_settle(unsteady: HealthSignals) -> None:
    assert judge(unsteady).reason is HealthReason.ANSWERS_NOT_STEADY


def test_server_that_listens_and_never_answers_is_restarted() -> None:
    silent = replace(STARTED, port=PortState.OURS)
    assert judge(silent, now=121.0).remedy is Remedy.RESTART


def test_steady_answers_are_no_proof() -> None:
    assert judge(STEADY) == HealthVerdict(SupervisorState.SETTLING, HealthReason.NO_CANARY_YET)


def test_work_before_the_first_canary_is_no_proof() -> None:
    assert judge(replace(STEADY, queue_length=1)).state is SupervisorState.SETTLING


def test_canary_proves_an_idle_server() -> None:
    assert judge(PROVED) == HealthVerdict(SupervisorState.READY, HealthReason.CANARY_RAN)


def test_one_failed_canary_restarts_nothing() -> None:
    failed = replace(PROVED, canary=CanaryRecord(proven_at=10.0, failures=1))
    assert judge(failed).remedy is Remedy.NONE


@pytest.mark.parametrize("proven_at", [None, 10.0])
def test_second_failed_canary_in_a_row_restarts(proven_at: float | None) -> None:
    failed = replace(STEADY, canary=CanaryRecord(proven_at=proven_at, failures=2))
    assert judge(failed) == HealthVerdict(SupervisorState.STALLED, HealthReason.CANARY_FAILED, Remedy.RESTART)


def test_busy_server_may_miss_every_probe() -> None:
    busy = replace(PROVED, queue_length=3, answered_at=9.0, progress_at=1795.0)
    assert judge(busy, now=1800.0) == HealthVerdict(SupervisorState.BUSY, HealthReason.WORK_PROGRESSES)


def test_work_without_progress_for_its_deadline_is_restarted() -> None:
    stuck = replace(PROVED, queue_length=1, progress_at=100.0)
    assert judge(stuck, now=1900.0).state is SupervisorState.BUSY
    assert judge(stuck, now=1901.0).remedy is Remedy.RESTART


def test_failed_canaries_do_not_restart_a_server_at_work() -> None:
    busy = replace(PROVED, queue_length=1, canary=CanaryRecord(proven_at=10.0, failures=9, event_failures=9))
    assert judge(busy).remedy is Remedy.NONE


def test_proof_expires() -> None:
    old = replace(PROVED, answered_at=190.0)
    assert judge(old, now=190.0).state is SupervisorState.READY
    assert judge(old, now=191.0) == HealthVerdict(SupervisorState.UNPROVEN, HealthReason.PROOF_TOO_OLD)


def test_unknown_queue_is_unproven() -> None:
    assert judge(replace(PROVED, queue_length=None)).state is SupervisorState.UNPROVEN


def test_vanished_listener_is_unproven() -> None:
    assert judge(replace(PROVED, port=PortState.NOBODY)).reason is HealthReason.NOT_LISTENING


def test_long_silence_of_an_idle_server_is_restarted() -> None:
    assert judge(PROVED, now=129.0).remedy is Remedy.NONE
    assert judge(PROVED, now=129.1).reason is HealthReason.NO_ANSWER


ERRING = replace(PROVED, queue_length=None, errors_since=10.0)


def test_errors_of_an_idle_server_are_no_work_whatever_its_cpu_time_says() -> None:
    assert judge(replace(ERRING, progress_at=129.0), now=130.0).state is SupervisorState.UNPROVEN
    verdict = judge(replace(ERRING, progress_at=130.0), now=130.1)
    assert (verdict.reason, verdict.remedy) == (HealthReason.ANSWERS_ERRORS, Remedy.RESTART)


def test_errors_beside_work_have_the_limit_of_the_work() -> None:
    working = replace(ERRING, known_queue_length=1, progress_at=1809.0)
    assert judge(working, now=1810.0).remedy is Remedy.NONE
    assert judge(working, now=1810.1).reason is HealthReason.ANSWERS_ERRORS


def test_endless_loop_of_an_idle_server_is_restarted_in_the_end() -> None:
    looping = replace(PROVED, queue_length=None, progress_at=1809.0)
    assert judge(looping, now=1809.0).state is SupervisorState.UNPROVEN
    assert judge(looping, now=1809.1).reason is HealthReason.NO_ANSWER
    # With prompts it may be their work, however long it takes.
    working = replace(looping, known_queue_length=1, progress_at=99_999.0)
    assert judge(working, now=100_000.0).remedy is Remedy.NONE


def test_silent_server_that_never_answered_is_restarted() -> None:
    silent = replace(PROVED, answered_at=None, canary=CanaryRecord(proven_at=1.0))
    assert judge(silent, now=131.0).remedy is Remedy.RESTART


@pytest.mark.parametrize("proven_at", [None, 10.0])
def test_client_that_does_not_read_is_named_not_answered_by_a_restart(proven_at: float | None) -> None:
    canary = CanaryRecord(proven_at=proven_at, event_failures=5, unread_client="10.0.0.9:51234")
    verdict = judge(replace(STEADY, canary=canary))
    assert verdict == HealthVerdict(SupervisorState.STALLED, HealthReason.CLIENT_DOES_NOT_READ)


def test_missing_events_without_a_guilty_client_restart_an_idle_server() -> None:
    once = replace(STEADY, canary=CanaryRecord(event_failures=1))
    twice = replace(STEADY, canary=CanaryRecord(proven_at=10.0, event_failures=2))
    assert judge(once) == HealthVerdict(SupervisorState.STALLED, HealthReason.EVENTS_DO_NOT_ARRIVE)
    assert judge(twice).remedy is Remedy.RESTART


def test_foreign_listener_is_reported_and_never_restarted() -> None:
    foreign = replace(PROVED, port=PortState.FOREIGN)
    assert judge(foreign, now=9999.0) == HealthVerdict(SupervisorState.STALLED, HealthReason.FOREIGN_PORT)


_times = st.floats(0, 5000)
_signals = st.builds(
    HealthSignals,
    started_at=_times,
    port=st.sampled_from(PortState),
    progress_at=_times,
    steady_answers=st.integers(0, 5),
    steady_since=st.none() | _times,
    answered_at=st.none() | _times,
    queue_length=st.none() | st.integers(0, 3),
    known_queue_length=st.integers(0, 3),
    errors_since=st.none() | _times,
    canary=st.builds(
        CanaryRecord,
        proven_at=st.none() | _times,
        failures=st.integers(0, 3),
        event_failures=st.integers(0, 3),
        unread_client=st.none() | st.just("client"),
    ),
)


@given(signals=_signals, now=_times)
@pytest.mark.slow
def test_ready_always_rests_on_a_fresh_proof_of_our_own_server(signals: HealthSignals, now: float) -> None:
    verdict = judge(signals, now=now)
    if verdict.state is SupervisorState.READY:
        assert signals.port is PortState.OURS
        assert signals.canary.proven_at is not None
        assert now - signals.canary.proven_at <= LIMITS.proof
        assert signals.queue_length == 0
        assert signals.canary.failures < LIMITS.canary_failures


@given(signals=_signals, now=_times)
@pytest.mark.slow
def test_progressing_work_of_a_proved_server_is_never_restarted(signals: HealthSignals, now: float) -> None:
    is_at_work = bool(signals.queue_length) and signals.canary.proven_at is not None
    if is_at_work and now - signals.progress_at <= signals.job_deadline_seconds:
        assert judge(signals, now=now).remedy is Remedy.NONE
