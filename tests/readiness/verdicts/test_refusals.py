from __future__ import annotations

import pytest

from comfywatchman.comfyui.validation.prompt import PromptNode
from comfywatchman.comfyui.validation.rejection import LinkedOutput, RejectedInput, RejectionReason
from comfywatchman.comfyui.validation.rules import NO_RULES, ValidationRules
from comfywatchman.comfyui.validation.signature import NodeSignature
from comfywatchman.readiness.verdicts.refusals import (
    build_doubtful_problem,
    build_left_out_problem,
    build_refusal_problems,
    build_refused_input,
    find_reason_not_to_run,
)
from comfywatchman.readiness.workflow_facts import ClassUse, WorkflowFacts

NODE = PromptNode("12:5", "KSampler")
LOADER = ClassUse(("1",))
OUTPUT = LinkedOutput("4", 2, "EmptyImage", "IMAGE", 1)


def reject(reason: RejectionReason, **more: object) -> RejectedInput:
    return RejectedInput(NODE, "model", reason, **more)  # type: ignore[arg-type]


def test_refused_input_names_node_input_and_reason() -> None:
    refused = build_refused_input(reject(RejectionReason.NOT_GIVEN), is_live=True)
    assert (refused.reason, refused.value, refused.input) == ("not_given", None, "model")
    assert (refused.node_type, refused.node_path) == ("KSampler", "12:5")


@pytest.mark.parametrize(
    ("rejected", "problem", "fix"),
    [
        (reject(RejectionReason.NOT_GIVEN), "gets nothing", "Link something to it"),
        (reject(RejectionReason.NOT_OFFERED, value="x", offered=("a", 1)), "is 'x'", "in the node: a, 1."),
        (reject(RejectionReason.NOT_OFFERED, value=None), "is empty", "offers nothing there"),
        (reject(RejectionReason.NOT_A_NUMBER, value="x"), "is 'x', which is not a number", "Enter a number"),
        (
            reject(RejectionReason.TOO_SMALL, value=-1, limit=0),
            "is -1, less than the lowest value 0",
            "Enter 0 or more",
        ),
        (reject(RejectionReason.TOO_LARGE, value=9, limit=5.5), "9, more than the highest value 5.5", "5.5 or less"),
        (reject(RejectionReason.BAD_LINK), "has a list that is not a link", "Export the workflow again"),
        (reject(RejectionReason.NO_SUCH_NODE, output=LinkedOutput("9", 0)), "to node 9, which is not", "Export"),
        (reject(RejectionReason.NO_SUCH_OUTPUT, output=OUTPUT), "output 2 of node 4 (EmptyImage)", "Link the input"),
        (reject(RejectionReason.WRONG_TYPE, wanted="MODEL", output=OUTPUT), "takes MODEL, but", "of type MODEL."),
        (reject(RejectionReason.WRONG_TYPE, wanted="[ab", output=OUTPUT), "takes a list of choices, but", "choices."),
        (reject(RejectionReason.CYCLE), "is linked in a circle", "Cut one of the links"),
    ],
)
def test_each_reason_is_described_with_a_next_step(rejected: RejectedInput, problem: str, fix: str) -> None:
    refused = build_refused_input(rejected, is_live=True)
    assert problem in refused.problem
    assert fix in refused.fix
    for message in (build_left_out_problem(refused).message, build_doubtful_problem(refused).message):
        assert f"model of this KSampler {refused.problem}. {refused.fix}" in message


def test_braces_in_a_value_are_kept() -> None:
    refused = build_refused_input(reject(RejectionReason.NOT_A_NUMBER, value="{limit}"), is_live=True)
    assert refused.problem.startswith("is '{limit}'")


@pytest.mark.parametrize(("value", "text"), [("x", "x"), (5, "5"), (0.5, "0.5"), (True, "True"), (None, None)])
def test_values_are_reported_as_text(value: object, text: str | None) -> None:
    assert build_refused_input(reject(RejectionReason.NOT_A_NUMBER, value=value), is_live=True).value == text


@pytest.mark.parametrize(("count", "end"), [(8, "7."), (9, "7 or 1 more."), (20, "7 or 12 more.")])
def test_many_choices_are_counted(count: int, end: str) -> None:
    offered = tuple(map(str, range(count)))
    rejected = reject(RejectionReason.NOT_OFFERED, value="x", offered=offered)
    assert build_refused_input(rejected, is_live=True).fix.endswith(f"0, 1, 2, 3, 4, 5, 6, {end}")


def test_choices_of_the_source_are_not_those_of_a_running_server() -> None:
    rejected = reject(RejectionReason.NOT_OFFERED, value="x", offered=("a",))
    live, still = (build_refused_input(rejected, is_live=is_live).fix for is_live in (True, False))
    assert live.startswith("The running ComfyUI does not offer it")
    assert still.startswith("The source of this ComfyUI does not offer it")


def test_left_out_outputs_come_before_doubts() -> None:
    refused = build_refused_input(reject(RejectionReason.NOT_GIVEN), is_live=True)
    problems = build_refusal_problems([refused], [refused])
    assert [(problem.code, problem.node_path) for problem in problems] == [
        ("output-left-out", "12:5"),
        ("input-doubtful", "12:5"),
    ]


@pytest.mark.parametrize(
    ("facts", "rules", "is_runnable"),
    [
        (WorkflowFacts("json"), NO_RULES, False),
        (WorkflowFacts("json", classes={"Note": LOADER}), NO_RULES, False),
        (WorkflowFacts("json", classes={"KSampler": ClassUse()}), NO_RULES, False),
        (WorkflowFacts("json", classes={"KSampler": LOADER}), NO_RULES, True),
        (WorkflowFacts("json", classes={"KSampler": LOADER}, prompt=(NODE,)), NO_RULES, True),
        (
            WorkflowFacts("json", classes={"KSampler": LOADER}, prompt=(NODE,)),
            ValidationRules({"KSampler": NodeSignature(is_output=False)}),
            False,
        ),
    ],
)
def test_something_must_run(facts: WorkflowFacts, rules: ValidationRules, *, is_runnable: bool) -> None:
    problem = find_reason_not_to_run(facts, rules)
    assert (problem is None) is is_runnable
    assert problem is None or problem.code == "nothing-to-run"


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("dpm_2m", "dpm_2, dpmpp_2m, a, b"),
        ("Euler", "euler, a, b"),
        ("other thing", "a, b, c, euler"),
    ],
)
def test_choices_that_are_spelled_like_the_value_come_first(value: str, named: str) -> None:
    offered = ("a", "b", "c", "euler", "dpm_fast", "dpmpp_2m", "dpm_2", "ddim", "uni_pc")
    rejected = reject(RejectionReason.NOT_OFFERED, value=value, offered=offered)
    assert build_refused_input(rejected, is_live=True).fix.partition("in the node: ")[2].startswith(named)
