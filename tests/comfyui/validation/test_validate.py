"""Predicted refusals of whole prompts, as `execution.validate_prompt` makes them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from comfywatchman.comfyui.validation.rejection import RejectedInput, UncheckedInput
from comfywatchman.comfyui.validation.rules import ValidationRules
from comfywatchman.comfyui.validation.signature import InputSignature, NodeSignature
from comfywatchman.comfyui.validation.validate import NOTHING_REJECTED, has_no_output, validate_prompt
from tests.comfyui.validation.classes import (
    build_api_prompt,
    build_chain,
    build_entry,
    build_file_prompt,
    build_rules,
    list_doubtful,
    list_rejected,
)
from tests.comfyui.workflow.samples import node, slot


def test_complete_workflow_is_not_rejected() -> None:
    assert validate_prompt(build_chain(), build_rules()) == NOTHING_REJECTED
    assert not has_no_output(build_chain(), build_rules())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sampler": "gone"}, ("2", "sampler_name", "not_offered")),
        ({"steps": "many"}, ("2", "steps", "not_a_number")),
        ({"load_mode": 2}, ("2", "model", "not_given")),
    ],
)
def test_rejected_input_of_the_only_output_refuses_the_prompt(
    change: dict[str, Any], reason: tuple[str, str, str]
) -> None:
    validation = validate_prompt(build_chain(**change), build_rules())
    assert list_rejected(build_chain(**change), build_rules()) == [reason]
    assert (validation.is_whole, validation.is_doubtful) == (True, False)


def test_nodes_without_an_output_behind_them_are_ignored() -> None:
    loose = node(9, "Sample", ["gone", 20], inputs=[slot("sampler_name"), slot("steps")])
    assert validate_prompt((*build_chain(), *build_file_prompt(loose)), build_rules()) == NOTHING_REJECTED


def test_nodes_behind_undeclared_inputs_are_ignored() -> None:
    save = {"class_type": "Save", "inputs": {"images": ["b", 0], "more": ["c", 0]}}
    sample = {"class_type": "Sample", "inputs": {"model": ["a", 0], "sampler_name": "euler", "steps": 1}}
    bad = {"class_type": "Sample", "inputs": {}}
    nodes = build_api_prompt(a={"class_type": "Load", "inputs": {}}, b=sample, c=bad, d=save)
    assert list_rejected(nodes, build_rules()) == []


@pytest.mark.parametrize(("kind", "refusals"), [("MODEL", []), ("VAE", [("3", "model", "not_given")]), ("*", [])])
def test_bypassed_node_passes_on_a_matching_type(kind: str, refusals: list[Any]) -> None:
    nodes = build_file_prompt(
        node(1, "Load", outputs=[{"type": "MODEL"}]),
        node(2, "Load", mode=4, inputs=[slot("in", 1, widget=False, kind=kind)], outputs=[{"type": "MODEL"}]),
        node(3, "Sample", ["euler", 1], inputs=[slot("model", 2, widget=False, kind="MODEL"), slot("sampler_name")]),
        node(4, "Save", inputs=[slot("images", 3, widget=False)]),
        links=[[1, 1, 0, 2, 0, "*"], [2, 2, 0, 3, 0, "MODEL"], [3, 3, 0, 4, 0, "IMAGE"]],
    )
    assert list_rejected(nodes, build_rules()) == refusals


def test_use_everywhere_feeds_open_inputs() -> None:
    nodes = build_chain(load_mode=2, extra={"ue_links": [{"downstream": 2}]})
    assert validate_prompt(nodes, build_rules()) == NOTHING_REJECTED


def test_open_input_beside_code_of_packs_leaves_a_doubt() -> None:
    nodes = (*build_chain(load_mode=2), *build_file_prompt(node(8, "Pack")))
    validation = validate_prompt(nodes, build_rules())
    assert (validation.inputs, validation.is_whole, validation.is_doubtful) == ((), False, True)
    assert list_doubtful(nodes, build_rules()) == [("2", "model", "not_given")]


def test_prompt_with_one_valid_output_is_not_refused_whole() -> None:
    nodes = (*build_chain("gone"), *build_file_prompt(node(7, "Other")))
    validation = validate_prompt(nodes, build_rules(Other=build_entry(output=True)))
    assert [rejected.input for rejected in validation.inputs] == ["sampler_name"]
    assert (validation.is_whole, validation.is_doubtful) == (False, False)


def test_node_that_may_be_an_output_leaves_a_doubt() -> None:
    nodes = (*build_chain("gone"), *build_file_prompt(node(7, "Other")))
    rules = build_rules(Other=build_entry(output=None))
    validation = validate_prompt(nodes, rules)
    assert (validation.is_whole, validation.is_doubtful) == (False, True)
    assert not has_no_output(nodes, rules)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_circle_before_an_output_is_refused(length: int) -> None:
    circle: dict[str, Any] = {
        f"n{index}": {"class_type": "Scale", "inputs": {"image": [f"n{(index + 1) % length}", 0]}}
        for index in range(length)
    }
    rules = build_rules(Scale=build_entry(returns=["IMAGE"], image=["IMAGE", {}]))
    save = {"class_type": "Save", "inputs": {"images": ["n0", 0]}}
    (rejected,) = validate_prompt(build_api_prompt(**circle, s=save), rules).inputs
    assert rejected.reason.value == "cycle"
    assert validate_prompt(build_api_prompt(**circle, s=save), rules).is_whole
    # Nothing of a circle that leads nowhere is validated.
    sound = {"class_type": "Save", "inputs": {"images": ["e", 0]}}
    empty = {"class_type": "Empty", "inputs": {}}
    rules = build_rules(Scale=build_entry(returns=["IMAGE"], image=["IMAGE", {}]), Empty=build_entry(returns=["IMAGE"]))
    assert list_rejected(build_api_prompt(**circle, e=empty, s=sound), rules) == []


def test_node_that_feeds_two_inputs_is_no_circle() -> None:
    rules = build_rules(Two=build_entry(output=True, a=["*", {}], b=["*", {}]))
    two = {"class_type": "Two", "inputs": {"a": ["c", 0], "b": ["d", 0]}}
    nodes = build_api_prompt(c={"class_type": "Load", "inputs": {}}, d={"class_type": "Pack", "inputs": {}}, e=two)
    assert validate_prompt(nodes, rules) == NOTHING_REJECTED


def test_rejected_input_behind_a_possible_link_leaves_a_doubt() -> None:
    rules = build_rules()
    rules.classes["Odd"] = NodeSignature(has_all_inputs=False, is_output=True, own_checks=())
    bad = {"class_type": "Sample", "inputs": {"model": ["z", 0], "sampler_name": "euler", "steps": 1}}
    nodes = build_api_prompt(a=bad, b={"class_type": "Odd", "inputs": {"x": ["a", 0]}})
    validation = validate_prompt(nodes, rules)
    assert (validation.inputs, validation.is_whole, validation.is_doubtful) == ((), False, True)
    assert [one.reason.value for one in validation.doubtful] == ["no_such_node"]


def test_only_inputs_that_count_are_listed() -> None:
    nodes = (
        *build_chain("gone"),
        *build_file_prompt(node(8, "Loose", ["gone"], inputs=[slot("x")]), node(9, "Other", [5], inputs=[slot("y")])),
    )
    rules = build_rules(
        Loose=build_entry(x=[["a"], {}]), Other=build_entry(output=True, module="custom_nodes.p", y=["INT", {"max": 1}])
    )
    assert list_rejected(nodes, rules) == [("2", "sampler_name", "not_offered")]
    assert list_doubtful(nodes, rules) == [("9", "y", "too_large")]
    assert validate_prompt(nodes, rules).is_doubtful


def test_unknown_classes_reject_nothing() -> None:
    nodes = build_chain("gone", load_mode=2)
    assert validate_prompt(nodes, ValidationRules()) == NOTHING_REJECTED
    assert not has_no_output(nodes, ValidationRules())


def test_prompt_without_output_is_recognised() -> None:
    assert has_no_output(build_file_prompt(node(1, "Load")), build_rules())
    assert not has_no_output((), build_rules())


def test_rejections_are_certain_by_default() -> None:
    (rejected,) = validate_prompt(build_chain("gone"), build_rules()).inputs
    assert isinstance(rejected, RejectedInput)
    assert rejected.is_certain


def build_unread_rules(*, is_live: bool = False, **sample: Any) -> ValidationRules:
    """Return the rules of a source that shows less of the class `Sample`."""
    rules = build_rules()
    changed = msgspec.structs.replace(rules.classes["Sample"], **sample)
    return ValidationRules(rules.classes | {"Sample": changed}, rules.checks, is_live=is_live)


UNREAD_SAMPLER = (
    InputSignature("model", "MODEL", is_required=True, is_socket=True),
    InputSignature("sampler_name", None, is_required=True, width=1, known_choices=("ddim",)),
)


def test_values_beside_choices_that_are_not_known_are_listed_once() -> None:
    rules = build_unread_rules(inputs=UNREAD_SAMPLER)
    assert validate_prompt(build_chain(), rules).unchecked == (UncheckedInput("Sample", "sampler_name"),)
    assert validate_prompt(build_chain("ddim"), rules) == NOTHING_REJECTED
    loose = node(9, "Sample", ["gone", 20], inputs=[slot("sampler_name"), slot("steps")])
    assert validate_prompt((*build_chain("ddim"), *build_file_prompt(loose)), rules) == NOTHING_REJECTED


def test_class_whose_inputs_are_not_known_is_listed_without_an_input() -> None:
    unread = (UncheckedInput("Sample"),)
    assert validate_prompt(build_chain(), build_unread_rules(has_all_inputs=False)).unchecked == unread
    assert validate_prompt(build_chain(), build_unread_rules(has_all_inputs=False, is_live=True)).unchecked == ()
    rules = build_rules()
    rest = {name: signature for name, signature in rules.classes.items() if name != "Sample"}
    assert validate_prompt(build_chain(), ValidationRules(rest, rules.checks)).unchecked == unread
    assert validate_prompt(build_chain(), ValidationRules()).unchecked == ()
