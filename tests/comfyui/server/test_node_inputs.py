from __future__ import annotations

from typing import Any

import pytest

from comfywatchman.comfyui.server.node_inputs import UNKNOWN_TYPE, NodeInput, list_node_inputs


def build_entry(required: Any, optional: Any = None, order: Any = None) -> dict[str, Any]:
    return {"input": {"required": required, "optional": optional}, "input_order": order}


def test_both_notations_of_a_combo_are_read() -> None:
    entry = build_entry({"old": [["a", "b"], {"default": "a"}], "new": ["COMBO", {"options": ["a"]}]})
    assert list(list_node_inputs(entry)) == [
        NodeInput("old", "COMBO", {"default": "a"}, is_required=True, choices=["a", "b"], is_legacy_combo=True),
        NodeInput("new", "COMBO", {"options": ["a"]}, is_required=True, choices=["a"]),
    ]


def test_required_inputs_come_first_in_the_stated_order() -> None:
    entry = build_entry({"b": ["INT"], "a": ["INT"]}, {"c": ["MODEL"]}, {"required": ["a", "b", "gone", 5]})
    inputs = list(list_node_inputs(entry))
    assert [(node_input.name, node_input.is_required) for node_input in inputs] == [
        ("a", True),
        ("b", True),
        ("c", False),
    ]


@pytest.mark.parametrize("specification", [None, [], {}, "INT", [5], [None, {}]])
def test_input_of_unknown_shape_has_the_unknown_type(specification: Any) -> None:
    (node_input,) = list_node_inputs(build_entry({"a": specification}))
    assert (node_input.type, node_input.choices) == (UNKNOWN_TYPE, None)


@pytest.mark.parametrize("entry", [None, [], {}, {"input": None}, {"input": {"required": []}}])
def test_entry_of_unknown_shape_has_no_inputs(entry: object) -> None:
    assert list(list_node_inputs(entry)) == []
