from __future__ import annotations

import msgspec
import pytest

from comfywatchman.comfyui.validation.rules import NO_RULES, UNKNOWN_CHECKS, ServerChecks, ValidationRules
from comfywatchman.comfyui.validation.signature import NodeSignature
from comfywatchman.comfyui.validation.validate import NOTHING_REJECTED, has_no_output, validate_prompt
from tests.comfyui.validation.classes import build_chain, build_rules, list_doubtful, list_rejected

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
    assert msgspec.structs.astuple(UNKNOWN_CHECKS) == (None, None, None)
    assert msgspec.json.encode(UNKNOWN_CHECKS) == b"{}"
    assert msgspec.json.decode(msgspec.json.encode(off), type=ServerChecks) == off != UNKNOWN_CHECKS


def test_rules_of_two_installations_share_no_classes() -> None:
    first = ValidationRules()
    first.classes["Own"] = NodeSignature()
    assert ValidationRules().classes == {}
    assert NO_RULES.classes == {}
