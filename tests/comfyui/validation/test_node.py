from __future__ import annotations

from typing import Any

import msgspec
import pytest

from comfywatchman.comfyui.server.signatures import read_signatures
from comfywatchman.comfyui.validation.node import (
    CheckedNode,
    check_node,
    number_widgets,
    read_possible_values,
    read_values,
)
from comfywatchman.comfyui.validation.prompt import CUT_MARK, MAX_TEXT, PromptNode
from comfywatchman.comfyui.validation.rejection import UncheckedInput
from comfywatchman.comfyui.validation.rules import ValidationRules
from comfywatchman.comfyui.validation.signature import InputSignature, NodeSignature, Scalar
from comfywatchman.comfyui.workflow.document import LinkSource
from tests.comfyui.validation.classes import build_entry, build_rules

SAMPLER = read_signatures(
    {"N": build_entry(seed=["INT", {}], steps=["INT", {}], model=["MODEL", {}], name=[["a"], {}])}
)["N"]
PACK = msgspec.structs.replace(SAMPLER, has_editor_code=True)
VALUES: dict[str, Scalar] = {"#0": 5, "#1": "fixed", "#2": 20, "#3": "a"}


def check(node: PromptNode, *, may_be_fed_later: bool = False, **classes: Any) -> CheckedNode:
    source = PromptNode("1", "Load")
    return check_node(node, {"1": source, node.path: node}, build_rules(**classes), may_be_fed_later=may_be_fed_later)


def list_reasons(node: PromptNode, **more: Any) -> list[tuple[str, str, bool]]:
    return [(one.input, one.reason.value, one.is_certain) for one in check(node, **more).rejected]


def test_api_nodes_need_every_required_input() -> None:
    node = PromptNode("2", "Sample", {"model": LinkSource("1", 0)}, {"steps": 1}, given=("model", "steps"))
    assert list_reasons(node) == [("sampler_name", "not_given", True)]


def test_open_sockets_of_a_file_are_rejected_and_widgets_have_a_value() -> None:
    assert list_reasons(PromptNode("2", "Sample", unfed=("model",))) == [("model", "not_given", True)]
    assert list_reasons(PromptNode("2", "Sample", unfed=())) == [("model", "not_given", True)]
    assert list_reasons(PromptNode("2", "Sample", unfed=(), linked=("model",))) == []
    assert list_reasons(PromptNode("2", "Sample", unfed=("model",), linked=("model",))) == [
        ("model", "not_given", True)
    ]
    assert list_reasons(PromptNode("2", "Sample", unfed=None)) == []


def test_code_of_packs_may_feed_open_sockets_later() -> None:
    assert list_reasons(PromptNode("2", "Sample", unfed=()), may_be_fed_later=True) == [("model", "not_given", False)]


def test_lists_that_are_no_link_are_rejected() -> None:
    node = PromptNode("2", "Save", malformed=("images", "undeclared"), given=("images", "undeclared"))
    assert list_reasons(node) == [("images", "bad_link", True)]


def test_links_and_values_are_checked() -> None:
    node = PromptNode(
        "2", "Sample", {"model": LinkSource("1", 1)}, {"steps": "x", "sampler_name": "gone", "other": "?"}, unfed=()
    )
    assert list_reasons(node) == [
        ("model", "wrong_type", True),
        ("sampler_name", "not_offered", True),
        ("steps", "not_a_number", True),
    ]


def test_only_links_of_declared_inputs_are_followed() -> None:
    links = {"model": LinkSource("1", 0), "undeclared": LinkSource("1", 0), "steps": LinkSource("9", 0)}
    checked = check(PromptNode("2", "Sample", links, unfed=()))
    assert (checked.sources, checked.possible_sources) == ({"model": "1"}, set())


def test_links_that_are_not_certain_may_be_followed() -> None:
    node = PromptNode("2", "Sample", {"model": LinkSource("1", 0, is_certain=False)}, unfed=())
    assert (check(node).sources, check(node).possible_sources) == ({}, {"1"})


def test_all_links_of_an_unknown_class_may_be_followed() -> None:
    checked = check(PromptNode("2", "Unheard", {"a": LinkSource("1", 0), "b": LinkSource("9", 0)}))
    assert (checked.rejected, checked.sources, checked.possible_sources) == ([], {}, {"1"})


def test_links_behind_a_dynamic_combo_of_unknown_value_may_be_followed() -> None:
    option = {"key": "a", "inputs": {"required": {"image": ["IMAGE", {}]}}}
    dynamic = build_entry(mode=["COMFY_DYNAMICCOMBO_V3", {"options": [option]}])
    links = {"mode.image": LinkSource("1", 0), "mode.other": LinkSource("1", 0)}
    unknown = check(PromptNode("2", "D", links, unfed=()), D=dynamic)
    assert (unknown.sources, unknown.possible_sources) == ({}, {"1"})
    known = check(PromptNode("2", "D", links, {"mode": "a"}, unfed=()), D=dynamic)
    assert (known.sources, known.possible_sources) == ({"mode.image": "1"}, set())
    assert [one.reason.value for one in known.rejected] == ["wrong_type"]


def test_a_class_with_unknown_inputs_may_declare_any_link() -> None:
    rules = build_rules()
    rules.classes["Part"] = NodeSignature(has_all_inputs=False, own_checks=())
    node = PromptNode("2", "Part", {"a": LinkSource("1", 0)})
    checked = check_node(node, {"1": PromptNode("1", "Load"), "2": node}, rules, may_be_fed_later=False)
    assert checked.possible_sources == {"1"}


def test_a_dynamic_input_with_unknown_inputs_may_declare_links_of_its_name() -> None:
    rules = build_rules()
    rules.classes["Part"] = NodeSignature((InputSignature("a", None),), own_checks=())
    node = PromptNode("2", "Part", {"a.x": LinkSource("1", 0), "b.x": LinkSource("3", 0)})
    nodes = {"1": PromptNode("1", "Load"), "2": node, "3": PromptNode("3", "Load")}
    assert check_node(node, nodes, rules, may_be_fed_later=False).possible_sources == {"1"}


def test_listed_values_go_to_the_widgets_in_declared_order() -> None:
    node = PromptNode("2", "N", values=VALUES, names=("a", "b", "c", "d"), count=4, unfed=())
    assert read_values(node, SAMPLER) == {"seed": 5, "steps": 20, "name": "a"} | {
        "a": 5,
        "b": "fixed",
        "c": 20,
        "d": "a",
    }
    assert read_values(node, PACK) == read_values(node, SAMPLER)


@pytest.mark.parametrize(
    ("owner", "expected"),
    [(SAMPLER, {"seed": 5, "steps": 20, "name": "a"}), (PACK, {"seed": 5})],
)
def test_a_list_of_another_length_is_certain_without_code_in_the_editor(
    owner: NodeSignature, expected: dict[str, Scalar]
) -> None:
    node = PromptNode("2", "N", values=VALUES, names=("seed", "steps", None, None), count=5, unfed=())
    assert read_values(node, owner) == expected


def test_values_that_code_in_the_editor_may_move_are_possible() -> None:
    node = PromptNode("2", "N", values=VALUES, names=("seed", "steps", None, None), count=5, unfed=())
    assert read_possible_values(node, PACK, {"seed": 5}) == {"steps": 20, "name": "a"}
    assert read_possible_values(node, SAMPLER, read_values(node, SAMPLER)) == {}
    by_name = PromptNode("2", "N", values={"steps": 5}, given=("steps",))
    assert read_possible_values(by_name, PACK, {}) == {}
    linked = PromptNode("2", "N", values=VALUES, count=5, linked=("steps",), unfed=())
    assert read_possible_values(linked, PACK, {}) == {"seed": 5, "name": "a"}


def test_a_possible_value_is_rejected_with_a_doubt() -> None:
    # An older version of the class had no `strength`: the file holds one value less than the class has widgets.
    entry = build_entry(
        module="custom_nodes.pack", lut=[["blue.cube"], {}], mode=[["a", "b"], {}], strength=["INT", {"max": 100}]
    )
    node = PromptNode("2", "Tint", values={"#0": "red.cube", "#1": "a"}, count=2, unfed=())
    assert list_reasons(node, Tint=entry) == [("lut", "not_offered", False)]
    good = PromptNode("2", "Tint", values={"#0": "blue.cube", "#1": "a"}, count=2, unfed=())
    assert list_reasons(good, Tint=entry) == []
    assert list_reasons(PromptNode("2", "Tint", values={"#0": "blue.cube", "#1": "c"}, count=2), Tint=entry) == [
        ("mode", "not_offered", False)
    ]


def test_a_possible_value_beside_unknown_choices_is_listed() -> None:
    unread = InputSignature("font", None, is_required=True, width=1, known_choices=())
    owner = NodeSignature((unread, InputSignature("size_as", None, width=None)), own_checks=())
    node = PromptNode("2", "Text", values={"#0": "bold.ttf"}, count=1, unfed=())
    checked = check_node(node, {"2": node}, ValidationRules({"Text": owner}), may_be_fed_later=True)
    assert checked.unchecked == [UncheckedInput("Text", "font")]


def test_a_value_that_the_class_may_refuse_itself_is_listed() -> None:
    path = InputSignature("video", "STRING", is_required=True, width=1)
    owner = NodeSignature((path,), own_checks=("s", "video"), refusable=("video",))
    node = PromptNode("2", "LoadPath", values={"video": "input/gone.mp4"})
    checked = check_node(node, {"2": node}, ValidationRules({"LoadPath": owner}, is_live=True), may_be_fed_later=True)
    assert (checked.unchecked, checked.rejected) == ([UncheckedInput("LoadPath", "video")], [])


def test_values_by_name_and_from_links_go_before_the_list() -> None:
    node = PromptNode("2", "N", values=VALUES | {"steps": 7}, count=4, linked=("name",), unfed=())
    assert read_values(node, SAMPLER) == {"seed": 5, "steps": 7}
    assert read_values(PromptNode("2", "N", values={"name": "x"}, unfed=()), SAMPLER) == {"name": "x"}
    assert read_values(PromptNode("2", "N", values={"name": "x"}, given=("name",)), SAMPLER) == {"name": "x"}


def test_values_behind_an_unknown_width_are_known_by_name_only() -> None:
    owner = NodeSignature((InputSignature("a", "INT", width=1), InputSignature("b", "CURVE", width=None)))
    assert number_widgets(owner, PromptNode("2", "N", count=3)) == ({"a": 0, "b": 1}, None)
    node = PromptNode("2", "N", values=VALUES, names=("a", None, "c"), count=4, unfed=())
    assert read_values(node, owner) == {"a": 5, "c": 20}


def test_the_editor_drops_values_of_inputs_that_became_links() -> None:
    owner = read_signatures({"N": build_entry(a=["INT", {}], b=["INT", {"forceInput": True}], c=["INT", {}])})["N"]
    assert number_widgets(owner, PromptNode("2", "N", count=3)) == ({"a": 0, "c": 2}, 3)
    assert number_widgets(owner, PromptNode("2", "N", count=2)) == ({"a": 0, "c": 1}, 2)
    assert number_widgets(owner, PromptNode("2", "N", count=5)) == ({"a": 0, "c": 1}, 2)


def test_widgets_of_a_dynamic_combo_stand_behind_it() -> None:
    inner = {"key": "b", "inputs": {"required": {"seed": ["INT", {}], "image": ["IMAGE", {}]}}}
    mode = ["COMFY_DYNAMICCOMBO_V3", {"options": [{"key": "a", "inputs": {}}, inner]}]
    grown = [
        "COMFY_AUTOGROW_V3",
        {"template": {"input": {"required": {"i": ["IMAGE", {}]}}, "prefix": "i", "min": 1, "max": 2}},
    ]
    owner = read_signatures({"N": build_entry(images=grown, mode=mode, steps=["INT", {}])})["N"]

    def number(first: Scalar) -> tuple[dict[str, int], int | None]:
        return number_widgets(owner, PromptNode("2", "N", values={"#0": first}, count=4))

    assert number("b") == ({"mode": 0, "mode.seed": 1, "steps": 3}, 4)
    assert number("a") == ({"mode": 0, "steps": 1}, 2)
    # The editor adds no widget for a value that is not offered.
    assert number("c") == number(5) == ({"mode": 0, "steps": 1}, 2)
    assert number("b" * MAX_TEXT + CUT_MARK) == ({"mode": 0}, None)
    assert number_widgets(owner, PromptNode("2", "N", count=4)) == ({"mode": 0}, None)


def test_nothing_is_numbered_behind_a_nested_combo_of_unknown_value() -> None:
    nested = ["COMFY_DYNAMICCOMBO_V3", {"options": [{"key": "c", "inputs": {}}]}]
    option = {"key": "b", "inputs": {"required": {"nested": nested}}}
    mode = ["COMFY_DYNAMICCOMBO_V3", {"options": [option]}]
    owner = read_signatures({"N": build_entry(mode=mode, steps=["INT", {}])})["N"]
    node = PromptNode("2", "N", values={"#0": "b", "#1": "c" * MAX_TEXT + CUT_MARK}, count=3)
    assert number_widgets(owner, node) == ({"mode": 0, "mode.nested": 1}, None)
