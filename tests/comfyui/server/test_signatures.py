from __future__ import annotations

from typing import Any

import pytest

from comfywatchman.comfyui.server.signatures import read_signatures
from comfywatchman.comfyui.validation.signature import InputSignature, NodeSignature
from tests.comfyui.validation.classes import build_entry


def read_input(specification: Any, *, name: str = "x") -> InputSignature:
    (signature,) = read_signatures({"N": build_entry(**{name: specification})})["N"].inputs
    return signature


def test_class_is_read_with_its_outputs() -> None:
    entry = build_entry(output=True, returns=["MODEL", ["a"], 5], optional={"b": ["INT", {}]}, a=["MODEL", {}])
    signature = read_signatures({"N": entry})["N"]
    assert [(one.name, one.is_required) for one in signature.inputs] == [("a", True), ("b", False)]
    model, choices, unknown = signature.outputs or ()
    assert (model, unknown) == ("MODEL", None)
    assert choices is not None
    assert choices.startswith("[")
    assert (signature.is_output, signature.own_checks, signature.has_all_inputs) == (True, None, True)


@pytest.mark.parametrize(
    ("module", "is_core"),
    [("nodes", True), ("comfy_extras.nodes_x", True), ("comfy_api_nodes.x", True), ("custom_nodes.x", False)],
)
def test_only_core_classes_have_plain_types_and_no_editor_code(module: str, *, is_core: bool) -> None:
    signature = read_signatures({"N": build_entry(module=module)})["N"]
    assert (signature.is_core, signature.has_plain_types, signature.has_editor_code) == (is_core, is_core, not is_core)


def test_equal_lists_are_equal_types() -> None:
    signatures = read_signatures(
        {
            "A": build_entry(returns=[["a", "b"]]),
            "B": build_entry(x=[["a", "b"], {}]),
            "C": build_entry(x=[["b", "a"], {}]),
        }
    )
    (output,) = signatures["A"].outputs or ()
    assert output == signatures["B"].inputs[0].type
    assert output != signatures["C"].inputs[0].type
    assert signatures["B"].inputs[0].choices == ("a", "b")


@pytest.mark.parametrize(
    ("specification", "is_socket", "width"),
    [
        (["MODEL", {}], True, 0),
        (["*", {}], True, 0),
        (["COMFY_MATCHTYPE_V3", {}], True, 0),
        (["INT", {}], False, 1),
        (["INT", {"forceInput": True}], True, 0),
        (["INT", {"control_after_generate": True}], False, 2),
        ([["a"], {}], False, 1),
        (["BOUNDING_BOXES", {"socketless": False}], False, None),
        (["A,B", {"widgetType": "STRING"}], False, None),
        (["COLOR", {"socketless": True}], False, None),
        (["BOUNDING_BOX", {"socketless": True, "forceInput": True}], True, 0),
        (["COMFY_DYNAMICCOMBO_V3", {"options": []}], False, None),
    ],
)
def test_sockets_and_widgets_are_told_apart(specification: Any, width: int | None, *, is_socket: bool) -> None:
    signature = read_input(specification)
    assert (signature.is_socket, signature.width) == (is_socket, width)
    assert signature.is_forced is bool(specification[1].get("forceInput"))


def test_dynamic_inputs_are_not_checked_themselves() -> None:
    signature = read_input(["COMFY_DYNAMICCOMBO_V3", {"options": []}])
    assert (signature.type, signature.is_required) == (None, False)
    match = read_input(["COMFY_MATCHTYPE_V3", {}])
    assert (match.type, match.is_required) == ("COMFY_MATCHTYPE_V3", True)


def test_growing_input_takes_names_or_a_prefix() -> None:
    template = {"input": {"required": {"image": ["IMAGE", {}]}}, "min": 1}
    by_name = read_input(["COMFY_AUTOGROW_V3", {"template": template | {"names": ["a", "b"]}}])
    assert by_name.expansion is not None
    assert [(one.name, one.type, one.is_required, one.is_socket) for one in by_name.expansion.grown] == [
        ("a", "IMAGE", True, True),
        ("b", "IMAGE", False, True),
    ]
    by_prefix = read_input(["COMFY_AUTOGROW_V3", {"template": template | {"prefix": "i", "max": 1000}}])
    assert by_prefix.expansion is not None
    assert len(by_prefix.expansion.grown) == 100
    optional = {"input": {"optional": {"image": ["IMAGE", {}]}}, "min": 1, "names": ["a"]}
    grown = read_input(["COMFY_AUTOGROW_V3", {"template": optional}]).expansion
    assert grown is not None
    assert not grown.grown[0].is_required
    assert (by_name.expansion.is_growth_optional, grown.is_growth_optional) == (False, True)


@pytest.mark.parametrize(
    "template", [None, {}, {"names": ["a"]}, {"input": {"required": {"a": ["IMAGE", {}]}}, "max": "x", "min": 1}]
)
def test_growing_input_of_an_unknown_shape_grows_to_nothing(template: Any) -> None:
    expansion = read_input(["COMFY_AUTOGROW_V3", {"template": template}]).expansion
    assert expansion is not None
    assert expansion.grown == ()


@pytest.mark.parametrize("options", [5, [5], [{"inputs": {}}], [{"key": 5, "inputs": {}}]])
def test_dynamic_combo_of_an_unknown_shape_has_no_variant(options: Any) -> None:
    expansion = read_input(["COMFY_DYNAMICCOMBO_V3", {"options": options}]).expansion
    assert expansion is not None
    assert expansion.variants == {}


def test_files_of_the_user_have_no_choices() -> None:
    (signature,) = read_signatures({"LoadImage": build_entry(image=[["a.png"], {}])})["LoadImage"].inputs
    assert (signature.is_file, signature.choices) == (True, None)
    assert not read_input([["a.png"], {}]).is_file


@pytest.mark.parametrize(
    ("limit", "read"), [(0, 0), (0.5, 0.5), (-1, -1), ("5", None), (True, None), (None, None), ([1], None)]
)
def test_limits_are_numbers(limit: object, read: object) -> None:
    signature = read_input(["INT", {"min": limit, "max": limit}])
    assert (signature.minimum, signature.maximum) == (read, read)


@pytest.mark.parametrize("payload", [None, [], {"X": None}, {"X": 5}])
def test_payload_of_an_unknown_shape_gives_no_signature(payload: object) -> None:
    assert read_signatures(payload) == {}


@pytest.mark.parametrize("entry", [{}, {"input": []}, {"input": {"required": 5}, "output": "x", "output_node": 1}])
def test_entry_of_an_unknown_shape_is_unknown(entry: Any) -> None:
    expected = NodeSignature(has_all_inputs=isinstance(entry.get("input"), dict))
    assert read_signatures({"X": entry}) == {"X": expected}
