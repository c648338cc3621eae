from __future__ import annotations

from typing import Any

from comfywatchman.comfyui.server.signatures import read_signatures
from comfywatchman.comfyui.validation.signature import InputSignature, Scalar, expand_inputs
from tests.comfyui.validation.classes import build_entry

SIZE = {
    "options": [
        {"key": "exact", "inputs": {"required": {"width": ["INT", {}]}, "optional": {"crop": ["COMBO", {}]}}},
        {"key": "match", "inputs": {"required": {"like": ["COMFY_DYNAMICCOMBO_V3", {"options": [
            {"key": "other", "inputs": {"required": {"image": ["IMAGE", {}]}}}
        ]}]}}},
        {"key": "none"},
        {"key": 5},
    ]
}  # fmt: skip
GROWN = {"template": {"input": {"required": {"image": ["IMAGE", {}]}}, "prefix": "image", "min": 1, "max": 3}}


def expand(specification: Any, **values: Scalar) -> list[tuple[str, bool]]:
    inputs = read_signatures({"N": build_entry(x=specification, y=["INT", {}])})["N"].inputs
    return [
        (one.name, one.is_required)
        for one in expand_inputs(inputs, {name.replace("_", "."): value for name, value in values.items()})
    ]


def test_plain_inputs_stay_as_they_are() -> None:
    assert expand(["INT", {}]) == [("x", True), ("y", True)]


def test_a_dynamic_combo_adds_the_inputs_of_its_value() -> None:
    specification = ["COMFY_DYNAMICCOMBO_V3", SIZE]
    assert expand(specification) == [("y", True)]
    assert expand(specification, x="exact") == [("x.width", True), ("x.crop", False), ("y", True)]
    assert expand(specification, x="none") == [("y", True)]
    assert expand(specification, x="unheard of") == [("y", True)]
    assert expand(specification, x=5) == [("y", True)]


def test_dynamic_combos_nest() -> None:
    assert expand(["COMFY_DYNAMICCOMBO_V3", SIZE], x="match", x_like="other") == [("x.like.image", True), ("y", True)]


def test_a_growing_input_requires_its_first_ones() -> None:
    names = [("x.image0", True), ("x.image1", False), ("x.image2", False), ("y", True)]
    assert expand(["COMFY_AUTOGROW_V3", GROWN]) == names


def test_kinds_of_combos_are_told_apart() -> None:
    kinds = [InputSignature("x", kind) for kind in ("COMBO", "[ab", "INT", None)]
    assert [kind.is_combo for kind in kinds] == [True, True, False, False]
    assert [kind.is_legacy_combo for kind in kinds] == [False, True, False, False]
