from __future__ import annotations

import pytest

from comfywatchman.comfyui.server.active_nodes import WiredNode
from comfywatchman.comfyui.server.validation import NO_RULES, RejectedInput, ValidationRules
from comfywatchman.readiness.verdicts.refusals import (
    build_left_out_problem,
    build_refused_input,
    find_reason_not_to_run,
)
from comfywatchman.readiness.workflow_facts import ClassUse, WorkflowFacts

NODE = WiredNode("12:5", "KSampler")
LOADER = ClassUse(("1",))


def test_input_without_a_value_is_not_given() -> None:
    refused = build_refused_input(RejectedInput(NODE, "model", None))
    assert (refused.reason, refused.value, refused.node_type, refused.node_path) == (
        "not_given",
        None,
        "KSampler",
        "12:5",
    )
    problem = build_left_out_problem(refused)
    assert "model of this KSampler gets nothing" in problem.message
    assert problem.message.endswith(f" {refused.fix}")


@pytest.mark.parametrize(("count", "end"), [(8, "7."), (9, "7 or 1 more."), (20, "7 or 12 more.")])
def test_many_choices_are_counted(count: int, end: str) -> None:
    offered = tuple(map(str, range(count)))
    refused = build_refused_input(RejectedInput(NODE, "scheduler", "x", offered))
    assert (refused.reason, refused.value) == ("not_offered", "x")
    assert refused.fix.endswith(f"0, 1, 2, 3, 4, 5, 6, {end}")
    problem = build_left_out_problem(refused)
    assert (problem.code, problem.node_path) == ("output-left-out", "12:5")
    assert "is 'x'" in problem.message


@pytest.mark.parametrize(
    ("facts", "rules", "is_runnable"),
    [
        (WorkflowFacts("json"), NO_RULES, False),
        (WorkflowFacts("json", classes={"Note": LOADER}), NO_RULES, False),
        (WorkflowFacts("json", classes={"KSampler": ClassUse()}), NO_RULES, False),
        (WorkflowFacts("json", classes={"KSampler": LOADER}), NO_RULES, True),
        (WorkflowFacts("json", classes={"KSampler": LOADER}, wiring=(NODE,)), NO_RULES, True),
        (
            WorkflowFacts("json", classes={"KSampler": LOADER}, wiring=(NODE,)),
            ValidationRules(outputs={"KSampler": False}),
            False,
        ),
    ],
)
def test_something_must_run(facts: WorkflowFacts, rules: ValidationRules, *, is_runnable: bool) -> None:
    problem = find_reason_not_to_run(facts, rules)
    assert (problem is None) is is_runnable
    assert problem is None or problem.code == "nothing-to-run"
