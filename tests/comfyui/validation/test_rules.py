from __future__ import annotations

from typing import Any

import msgspec
import pytest

from comfywatchman.comfyui.validation.rules import NO_RULES, UNKNOWN_CHECKS, ServerChecks, ValidationRules
from comfywatchman.comfyui.validation.signature import NodeSignature
from comfywatchman.comfyui.validation.validate import NOTHING_REJECTED, has_no_output, validate_prompt
from tests.comfyui.validation.classes import (
    build_api_prompt,
    build_chain,
    build_entry,
    build_rules,
    list_doubtful,
    list_rejected,
)

COMBO = {"required": {"model": ["MODEL", {}], "sampler_name": ["COMBO", {"options": ["euler"]}], "steps": ["INT", {}]}}
NEW_SAMPLE = {"input": COMBO, "python_module": "nodes", "output_node": False, "output": ["IMAGE"]}
REJECTED = [("2", "sampler_name", "not_offered")]


def test_without_rules_nothing_is_rejected() -> None:
    nodes = build_chain("gone", steps="many")
    assert validate_prompt(nodes, NO_RULES) == NOTHING_REJECTED
    assert not has_no_output(nodes, NO_RULES)


@pytest.mark.parametrize(
    ("new_combos", "certain", "doubtful"), [(True, REJECTED, []), (False, [], []), (None, [], REJECTED)]
)
def test_check_of_an_unknown_version_is_doubtful(
    certain: list[tuple[str, str, str]], doubtful: list[tuple[str, str, str]], *, new_combos: bool | None
) -> None:
    rules = build_rules(checks=ServerChecks(new_combos=new_combos, lists_feed_combos=True), Sample=NEW_SAMPLE)
    nodes = build_chain("gone")
    assert list_rejected(nodes, rules) == certain
    assert list_doubtful(nodes, rules) == doubtful


def test_checks_that_are_off_are_stored_apart_from_unknown_ones() -> None:
    off = ServerChecks(new_combos=False)
    assert msgspec.structs.astuple(UNKNOWN_CHECKS) == (None, None, None, None)
    assert msgspec.json.encode(UNKNOWN_CHECKS) == b"{}"
    assert msgspec.json.decode(msgspec.json.encode(off), type=ServerChecks) == off != UNKNOWN_CHECKS


def test_rules_of_two_installations_share_no_classes() -> None:
    first = ValidationRules()
    first.classes["Own"] = NodeSignature()
    assert ValidationRules().classes == {}
    assert NO_RULES.classes == {}


def _variant(inner: Any) -> Any:
    return {"key": "a", "inputs": {"required": {"x": inner}}}


OPTIONAL_GROWTH: Any = [
    "COMFY_AUTOGROW_V3",
    {
        "template": {
            "input": {"required": {}, "optional": {"option": ["OPTIONS", {}]}},
            "prefix": "o",
            "min": 0,
            "max": 3,
        }
    },
]
REQUIRED_GROWTH: Any = [
    "COMFY_AUTOGROW_V3",
    {"template": {"input": {"required": {"option": ["OPTIONS", {}]}}, "prefix": "o", "min": 0, "max": 3}},
]


@pytest.mark.parametrize(
    ("options", "mode", "rejected"),
    [
        (OPTIONAL_GROWTH, "a", [("1", "options", "optional_growth")]),
        (REQUIRED_GROWTH, "a", []),
        (
            ["COMFY_DYNAMICCOMBO_V3", {"options": [_variant(OPTIONAL_GROWTH)]}],
            "a",
            [("1", "options.x", "optional_growth")],
        ),
        (["COMFY_DYNAMICCOMBO_V3", {"options": [_variant(OPTIONAL_GROWTH)]}], "b", []),
    ],
)
def test_version_that_fails_on_optional_growth_refuses_the_node(options: Any, mode: str, rejected: Any) -> None:
    prompt = build_api_prompt(**{"1": {"class_type": "Grow", "inputs": {"options": mode}}})
    entry = build_entry(output=True, optional={"options": options})
    rules = build_rules(checks=ServerChecks(new_combos=True, optional_growth=False), Grow=entry)
    assert list_rejected(prompt, rules) == rejected
    assert list_rejected(prompt, build_rules(checks=ServerChecks(optional_growth=True), Grow=entry)) == []
    assert list_rejected(prompt, build_rules(checks=ServerChecks(), Grow=entry)) == []
