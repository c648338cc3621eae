"""The states of a run as the rest of the program relies on them."""

from __future__ import annotations

from comfywatchman.jobs.execution.run_states import PromptRun, RunEnd, RunLimits, RunProgress


def test_nothing_is_known_before_the_first_event() -> None:
    assert RunProgress() == RunProgress(is_running=False, node_id=None, prompts_ahead=None)


def test_run_is_gone_unless_that_is_uncertain() -> None:
    run = PromptRun(RunEnd.SUCCESS, "p")
    assert run.is_gone
    assert not run.has_begun


def test_cancelling_takes_less_than_the_rest_of_a_lease() -> None:
    assert RunLimits().cancel_seconds < 0.4 * 60
