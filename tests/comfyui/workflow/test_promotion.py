from __future__ import annotations

import pytest

from comfywatchman.comfyui.workflow.graph import RawNode
from comfywatchman.comfyui.workflow.promotion import (
    PromotedInput,
    ProxyWidget,
    find_host_problems,
    parse_proxy_widgets,
    read_host_values,
)
from tests.comfyui.workflow.samples import Json

INPUTS = (PromotedInput("a", "5", "ckpt_name"), PromotedInput("b", "6", "vae_name"))


def read(**raw: object) -> Json:
    return read_host_values(RawNode("2", "sub", 0, (), raw), INPUTS)


def codes(**raw: object) -> list[str]:
    return [problem.code for problem in find_host_problems(RawNode("2", "sub", 0, (), raw), INPUTS, "2")]


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (["x", "y"], {"a": "x", "b": "y"}),
        (["x"], {"a": "x"}),
        (["x", None, "z"], {"a": "x", "b": None}),
        ([], {}),
        (None, {}),
        ({"a": "x"}, {}),
        ("xy", {}),
    ],
)
def test_list_goes_to_the_promoted_inputs_in_order(stored: object, expected: Json) -> None:
    assert read(widgets_values=stored) == expected


def test_value_set_aside_by_the_editor_wins_over_the_list() -> None:
    entries = [
        {"originalEntry": ["-1", "b"], "hostValue": "aside"},
        {"originalEntry": ["-1", "b"], "hostValue": "later"},
        {"originalEntry": ["-1", "a"]},
        {"originalEntry": ["5", "ckpt_name"], "hostValue": "other node"},
        {"originalEntry": ["-1"], "hostValue": 1},
        {"originalEntry": ["-1", "unknown"], "hostValue": 1},
        7,
    ]
    values = read(widgets_values=["x", "y"], properties={"proxyWidgetErrorQuarantine": entries})
    assert values == {"a": "x", "b": "aside"}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ([["5", "x"]], [ProxyWidget("5", "x", None)]),
        ([["5", "x", "7"]], [ProxyWidget("5", "x", "7")]),
        ([["5", "7: 8 :x: y"]], [ProxyWidget("5", "x: y", "8")]),
        ('[["5", "x"]]', [ProxyWidget("5", "x", None)]),
        ("[[", []),
        ("5", []),
        ([["5", "x"], [5, "y"]], []),
        ([["5", "x"], ["5"]], []),
        ([["5", "x", "7", "8"]], []),
        ([["5", "x"], "5"], []),
        ({}, []),
        (None, []),
    ],
)
def test_proxy_list_is_read_whole_or_not_at_all(raw: object, expected: list[ProxyWidget]) -> None:
    assert parse_proxy_widgets(raw) == expected


def test_disagreement_with_the_named_values_is_reported() -> None:
    assert codes(widgets_values=["x", "y"], widgets_values_named={"a": "x", "b": "y"}) == []
    assert codes(widgets_values=["x", "y"], widgets_values_named={"b": "y", "a": "x"}) == []
    assert codes(widgets_values=["x", "y"], widgets_values_named={"a": "x", "b": "z"}) == ["widget-names-disagree"]
    assert codes(widgets_values=[], widgets_values_named={"a": "x"}) == ["widget-names-disagree"]
    assert codes(widgets_values_named={"a": "x"}) == ["widget-names-disagree"]


@pytest.mark.parametrize("stored", [{"a": "x"}, "x", 5])
def test_values_that_the_editor_does_not_restore_are_reported(stored: object) -> None:
    assert codes(widgets_values=stored) == ["widgets-unreadable"]
