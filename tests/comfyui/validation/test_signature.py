from __future__ import annotations

import math
import sys
from typing import Any

import pytest

from comfywatchman.comfyui.server.signatures import read_signatures
from comfywatchman.comfyui.validation.signature import (
    InputSignature,
    Scalar,
    build_grown_names,
    build_list_type,
    expand_inputs,
    grow_inputs,
    has_fixed_choices,
    list_optional_growth,
    read_limit,
)
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


def test_equal_lists_are_equal_types() -> None:
    assert build_list_type(["a", 1]) == build_list_type(("a", 1)) != build_list_type(["a"])


@pytest.mark.parametrize(
    ("limit", "number"),
    [
        (5, 5),
        (0.5, 0.5),
        (True, None),
        ("5", None),
        (None, None),
        (math.nan, None),
        (math.inf, math.inf),
        ((1 << 64) - 1, (1 << 64) - 1),
        (1 << 64, float(1 << 64)),
        (-(1 << 64), -float(1 << 64)),
        (10**400, sys.float_info.max),
    ],
)
def test_limit_is_a_number_that_can_be_stored(limit: object, number: float | None) -> None:
    assert read_limit(limit) == number


def test_grown_inputs_need_not_be_given_in_older_versions() -> None:
    inputs = read_signatures({"N": build_entry(x=["COMFY_AUTOGROW_V3", GROWN])})["N"].inputs
    required = [one.name for one in expand_inputs(inputs, {}) if one.is_required]
    assert required == ["x.image0"]
    assert not [one for one in expand_inputs(inputs, {}, needs_grown=False) if one.is_required]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, True),
        ({"default": "a", "remote": None, "multiselect": False}, True),
        ({"remote": {"route": "/r"}}, False),
        ({"multi_select": True}, False),
        ({"dynamic": True}, False),
        ({"image_upload": True}, False),
        ({"video_upload": False}, False),
    ],
)
def test_choices_are_fixed_without_an_option_that_changes_them(options: dict[str, object], *, expected: bool) -> None:
    assert has_fixed_choices(options) is expected


def test_growing_inputs_end_at_the_limit_of_comfyui() -> None:
    assert build_grown_names("image", 2) == ["image0", "image1"]
    assert len(build_grown_names("image", 10**9)) == 100
    template = InputSignature("image", "IMAGE", is_required=True)
    grown = grow_inputs(template, [f"a{index}" for index in range(150)], 1).grown
    assert (len(grown), grown[0].is_required, grown[1].is_required) == (100, True, False)


def test_plain_inputs_grow_no_optional_inputs() -> None:
    assert list(list_optional_growth([InputSignature("seed", "INT")], {"seed": 1})) == []
