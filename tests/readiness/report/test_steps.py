from __future__ import annotations

import itertools
import random
import time

import pytest

from comfywatchman.readiness.report.steps import MAX_BUNDLE, ActionCost, Step, plan_steps


def plan(
    needs: dict[str, str], *, ready: int = 0, max_steps: int = 5, costs: dict[str, ActionCost] | None = None
) -> tuple[Step, ...]:
    """Plan steps for workflows, each with the letters of the actions that it needs."""
    sets = {workflow: frozenset(actions) for workflow, actions in needs.items()}
    known = dict.fromkeys("".join(needs.values()), ActionCost(1)) | (costs or {})
    return plan_steps(sets, known, ready=ready, max_steps=max_steps)


def test_action_of_most_workflows_comes_first() -> None:
    steps = plan({"1": "a", "2": "b", "3": "b"}, ready=4)
    assert [(step.actions, step.unlocks, step.ready_after) for step in steps] == [
        (("b",), ("2", "3"), 6),
        (("a",), ("1",), 7),
    ]


def test_mentions_do_not_count_but_what_becomes_ready() -> None:
    # `a` is mentioned three times and unlocks nothing by itself.
    assert plan({"1": "ab", "2": "ac", "3": "ad", "4": "e"})[0].actions == ("e",)


def test_bundle_that_helps_only_together_is_one_step() -> None:
    (step,) = plan({"1": "ab", "2": "ab", "3": "ab"})
    assert (step.actions, len(step.unlocks), step.gain_alone) == (("a", "b"), 3, 3)


def test_step_names_the_steps_that_it_needs() -> None:
    steps = plan({"1": "a", "2": "a", "3": "ab", "4": "ab"})
    assert [(step.actions, step.after, step.gain_alone) for step in steps] == [(("a",), (), 2), (("b",), (1,), 0)]


def test_equal_gain_is_decided_by_effort_then_by_size_then_by_use() -> None:
    costs = {"a": ActionCost(2), "b": ActionCost(1, None), "c": ActionCost(1, 9), "d": ActionCost(1, 5)}
    steps = plan({"1": "a", "2": "b", "3": "c", "4": "d"}, costs=costs)
    assert [step.actions for step in steps] == [("d",), ("c",), ("b",), ("a",)]
    assert plan({"1": "a", "2": "b", "3": "bcd"})[0].actions == ("b",)


def test_plan_ends_with_the_workflows_and_with_the_limit() -> None:
    assert plan({}) == ()
    assert len(plan({str(n): chr(97 + n) for n in range(9)}, max_steps=3)) == 3


def test_too_many_actions_are_no_step() -> None:
    letters = "abcdefgh"
    assert plan({"1": letters[: MAX_BUNDLE + 1]}) == ()
    assert len(plan({"1": letters[:MAX_BUNDLE]})) == 1
    # The large one becomes possible once the smaller ones are done.
    assert [step.unlocks for step in plan({"1": "ab", "2": letters[: MAX_BUNDLE + 2]})] == [("1",), ("2",)]


def test_promises_hold_and_most_prefixes_are_optimal() -> None:
    chosen = random.Random(15)  # noqa: S311 - the cases only have to be the same in each run
    optimal = total = 0
    for _case in range(60):
        needs = {str(n): "".join(chosen.sample("abcdef", chosen.randint(1, 3))) for n in range(8)}
        done: set[str] = set()
        for step in plan(needs):
            done |= set(step.actions)
            ready = sum(set(actions) <= done for actions in needs.values())
            assert step.ready_after == ready
            subsets = itertools.combinations("abcdef", min(len(done), 6))
            best = max(sum(set(actions) <= set(subset) for actions in needs.values()) for subset in subsets)
            optimal += ready == best
            total += 1
    assert optimal / total > 0.95


@pytest.mark.slow
def test_a_thousand_workflows_are_planned_at_once() -> None:
    chosen = random.Random(15)  # noqa: S311 - see above
    needs = {str(n): frozenset(str(chosen.randint(0, 300)) for _ in range(chosen.randint(1, 6))) for n in range(1000)}
    costs = {action: ActionCost(1) for actions in needs.values() for action in actions}
    started = time.process_time()
    assert len(plan_steps(needs, costs, ready=0, max_steps=5)) == 5
    # Seen: 0.2 s.
    assert time.process_time() - started < 10
