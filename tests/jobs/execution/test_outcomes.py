"""What each end of a prompt means for its job."""

from __future__ import annotations

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.jobs.execution.outcomes import (
    judge_defect,
    judge_failure,
    judge_lost_lease,
    judge_missing_output,
    judge_run,
)
from comfywatchman.jobs.execution.run_states import PromptRun, RunEnd, StopCause


def judge(end: RunEnd, **facts: object) -> tuple[str | None, bool, bool, bool]:
    outcome = judge_run(PromptRun(end, "p", **facts), {"a": 1})  # type: ignore[arg-type]
    assert not outcome.success
    assert outcome.error_text
    assert outcome.metadata == {"a": 1}
    return outcome.error_code, outcome.retryable, outcome.counts_against_job, outcome.killed_comfyui


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (RunEnd.FAILED, ("jobs-node-failed", True, True, False)),
        (RunEnd.REFUSED, ("jobs-refused", False, True, False)),
        (RunEnd.SERVER_ERROR, ("jobs-comfyui-error", True, True, False)),
        (RunEnd.INTERRUPTED, ("jobs-prompt-interrupted", True, False, False)),
        (RunEnd.AWAY, ("jobs-comfyui-away", True, False, False)),
        (RunEnd.RESTARTED, ("jobs-comfyui-restarted", True, False, False)),
    ],
)
def test_only_failures_of_the_job_count(end: RunEnd, expected: tuple[str, bool, bool, bool]) -> None:
    assert judge(end) == expected


def test_stalled_server_is_not_the_fault_of_the_job() -> None:
    assert judge(RunEnd.STALLED, reason="It runs nothing.") == ("jobs-comfyui-stalled", True, False, False)


@pytest.mark.parametrize(
    ("stop", "expected"),
    [
        (StopCause.CANCELLED, ("jobs-cancelled", True, True, False)),
        (StopCause.DEADLINE, ("jobs-deadline", True, True, False)),
        (StopCause.LEASE_LOST, ("jobs-lease-lost", True, False, False)),
        (StopCause.SHUTDOWN, ("jobs-agent-stopped", True, False, False)),
    ],
)
def test_stops_have_their_cause(stop: StopCause, expected: tuple[str, bool, bool, bool]) -> None:
    assert judge(RunEnd.STOPPED, stop=stop) == expected


def test_only_a_cancelled_run_is_cancelled() -> None:
    for stop in StopCause:
        outcome = judge_run(PromptRun(RunEnd.STOPPED, "p", stop=stop), {})
        assert outcome.was_cancelled is (stop is StopCause.CANCELLED)


def test_job_is_suspected_when_comfyui_ended_while_it_ran() -> None:
    assert judge(RunEnd.RESTARTED, has_begun=True) == ("jobs-comfyui-restarted", True, False, True)
    run = PromptRun(RunEnd.RESTARTED, "p", has_begun=True)
    assert not judge_run(run, {}, was_restart_ordered=True).killed_comfyui


@pytest.mark.parametrize(
    ("code", "retryable", "counts"),
    [
        ("http-unreachable", True, False),
        ("http-body", True, False),
        ("http-status", True, True),
        ("jobs-database-unavailable", True, False),
        ("state-unwritable", True, True),
        ("file-unreadable", False, True),
        ("jobs-output-refused", False, True),
        ("jobs-file-invalid", False, True),
    ],
)
def test_failures_outside_of_comfyui(code: str, *, retryable: bool, counts: bool) -> None:
    outcome = judge_failure(Failure(code, "It failed.", hint="Repair it."), {})
    assert (outcome.error_code, outcome.error_text) == (code, "It failed. Repair it.")
    assert (outcome.retryable, outcome.counts_against_job) == (retryable, counts)


def test_success_without_a_file_is_a_failure() -> None:
    outcome = judge_missing_output({})
    assert (outcome.success, outcome.error_code, outcome.retryable) == (False, "jobs-no-output", False)


def test_lost_lease_costs_nothing() -> None:
    assert not judge_lost_lease().counts_against_job


def test_defect_names_the_log() -> None:
    outcome = judge_defect(ZeroDivisionError())
    assert outcome.error_code == "jobs-agent-broken"
    assert "ZeroDivisionError" in (outcome.error_text or "")
