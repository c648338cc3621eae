from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfywatchman.supervisor.restart_policy import (
    ExitAction,
    ExitDecision,
    ExitEvent,
    ExitKind,
    RestartPolicy,
    StartHistory,
    compute_backoff,
    decide_after_exit,
    forget_old_starts,
    record_start,
)

POLICY = RestartPolicy()
ONE_START = StartHistory(starts=(0.0,))


def decide(
    event: ExitEvent, history: StartHistory = ONE_START, *, now: float = 5.0, stopping: bool = False
) -> ExitDecision:
    return decide_after_exit(event, history, POLICY, now_seconds=now, jitter=1.0, is_stopping=stopping)


def test_restart_status_prepares_and_starts_at_once() -> None:
    decision = decide(ExitEvent(42))
    assert (decision.action, decision.kind) == (ExitAction.START, ExitKind.RESTART_REQUESTED)
    assert decision.prepare
    assert decision.delay_seconds == 0
    assert not decision.without_extra_arguments
    assert decision.history.crashes == 0


def test_switch_status_with_a_request_switches() -> None:
    assert decide(ExitEvent(43, switch_target="flux")).action is ExitAction.SWITCH


def test_switch_status_without_a_request_is_a_crash() -> None:
    decision = decide(ExitEvent(43))
    assert (decision.action, decision.kind) == (ExitAction.START, ExitKind.CRASH)
    assert decision.history.crashes == 1


def test_status_zero_stops() -> None:
    assert decide(ExitEvent(0)).action is ExitAction.STOP


def test_status_zero_with_the_marker_of_the_manager_restarts() -> None:
    assert decide(ExitEvent(0, reboot_marker=True)).kind is ExitKind.RESTART_REQUESTED


def test_our_own_stop_is_not_a_crash() -> None:
    decision = decide(ExitEvent(-9, stopped_by_us=True))
    assert (decision.action, decision.kind) == (ExitAction.STOP, ExitKind.OWN_STOP)
    assert decision.history.crashes == 0


@pytest.mark.parametrize("status", [1, -9, -6, -11, 137, 255, 41, 44])
def test_other_statuses_are_crashes(status: int) -> None:
    decision = decide(ExitEvent(status))
    assert (decision.action, decision.kind) == (ExitAction.START, ExitKind.CRASH)
    assert not decision.prepare


def test_only_the_first_retry_leaves_out_extra_arguments() -> None:
    first = decide(ExitEvent(1))
    second = decide(ExitEvent(1), first.history)
    assert first.without_extra_arguments
    assert not second.without_extra_arguments


def test_any_exit_ends_a_stopping_supervisor() -> None:
    assert decide(ExitEvent(1), stopping=True).action is ExitAction.STOP
    assert decide(ExitEvent(42), stopping=True).action is ExitAction.STOP


@pytest.mark.parametrize("event", [ExitEvent(1), ExitEvent(42), ExitEvent(0, reboot_marker=True)])
def test_every_kind_of_start_uses_the_budget(event: ExitEvent) -> None:
    history = StartHistory()
    for start in range(POLICY.max_starts):
        history = record_start(history, now_seconds=start * 10.0)
        decision = decide(event, history, now=start * 10.0 + 5)
        history = decision.history
    assert decision.action is ExitAction.GIVE_UP


def test_start_is_allowed_when_an_old_one_leaves_the_window() -> None:
    history = StartHistory(starts=(0.0, 100.0, 200.0, 300.0, 400.0))
    assert decide(ExitEvent(1), history, now=599.0).action is ExitAction.GIVE_UP
    assert decide(ExitEvent(1), history, now=600.0).action is ExitAction.START


def test_budget_is_reset_only_after_a_stable_time() -> None:
    used_up = StartHistory(starts=(0.0, 1.0, 2.0, 3.0, 590.0), crashes=4, ready_since=600.0)
    assert forget_old_starts(used_up, POLICY, now_seconds=1199.0).crashes == 4
    assert forget_old_starts(used_up, POLICY, now_seconds=1200.0) == StartHistory(ready_since=600.0)


def test_one_moment_of_being_ready_resets_nothing() -> None:
    flapping = StartHistory(starts=(0.0, 10.0, 20.0, 30.0, 40.0), crashes=4, ready_since=45.0)
    assert decide(ExitEvent(1), flapping, now=50.0).action is ExitAction.GIVE_UP


def test_start_makes_the_new_process_unready() -> None:
    assert record_start(StartHistory(ready_since=3.0), now_seconds=9.0) == StartHistory(starts=(9.0,))


@given(crashes=st.integers(0, 10_000), jitter=st.floats(0, 1))
@pytest.mark.slow
def test_wait_is_bounded_and_jittered(crashes: int, jitter: float) -> None:
    wait = compute_backoff(crashes, POLICY, jitter=jitter)
    assert POLICY.backoff_first_seconds / 2 <= wait <= POLICY.backoff_max_seconds
    assert compute_backoff(crashes + 1, POLICY, jitter=jitter) >= wait


@given(
    statuses=st.lists(st.sampled_from([0, 1, 42, 43, -9]), max_size=60),
    gaps=st.lists(st.floats(0, 900), min_size=60, max_size=60),
)
@pytest.mark.slow
def test_no_window_ever_has_more_starts_than_allowed(statuses: list[int], gaps: list[float]) -> None:
    history, now, starts = record_start(StartHistory(), now_seconds=0.0), 0.0, [0.0]
    for status, gap in zip(statuses, gaps, strict=False):
        now += gap
        decision = decide(ExitEvent(status), history, now=now)
        if decision.action is not ExitAction.START:
            break
        now += decision.delay_seconds
        history = record_start(decision.history, now_seconds=now)
        starts.append(now)
        recent = [start for start in starts if now - start < POLICY.window_seconds]
        # A waited-out delay may let an old start leave the window, never let one more in.
        assert len(recent) <= POLICY.max_starts
