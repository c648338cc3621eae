from __future__ import annotations

import pytest

from comfywatchman.comfyui.workflow.document import WidgetDefault
from comfywatchman.comfyui.workflow.widgets import NodeWidgets
from tests.comfyui.workflow import samples
from tests.comfyui.workflow.samples import Json, graph, node, slot


def values(one: Json) -> dict[str, object]:
    return dict(samples.nodes_of(graph(one))["1"].values)


def problems(one: Json) -> list[tuple[str, str | None]]:
    return [(problem.code, problem.node_path) for problem in samples.read(graph(one)).problems]


def test_names_come_from_the_named_values() -> None:
    one = node(1, "Unknown", ["a", 2], widgets_values_named={"first": "a", "second": 2})
    assert values(one) == {"first": "a", "second": 2}
    assert problems(one) == []


def test_the_list_wins_over_the_named_values_and_the_disagreement_is_reported() -> None:
    one = node(1, "VAELoader", ["list.safetensors"], widgets_values_named={"vae_name": "named.safetensors"})
    assert values(one) == {"vae_name": "list.safetensors"}
    assert problems(one) == [("widget-names-disagree", "1")]


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (["list.safetensors", "more"], {"vae_name": "list.safetensors"}),
        ([], {}),
        (None, {}),
    ],
)
def test_list_wins_over_the_named_values_of_another_length(stored: object, expected: Json) -> None:
    one = node(1, "VAELoader", stored, widgets_values_named={"vae_name": "named.safetensors"})
    assert values(one) == expected
    assert problems(one) == [("widget-names-disagree", "1")]


@pytest.mark.parametrize(
    "named",
    [
        {"strength_clip": 0.25, "lora_name": "list.safetensors", "strength_model": 0.5},
        {"a": "list.safetensors", "b": 0.5, "c": 0.25},
    ],
)
def test_names_of_a_known_class_do_not_depend_on_the_file(named: Json) -> None:
    one = node(1, "LoraLoader", ["list.safetensors", 0.5, 0.25], widgets_values_named=named)
    assert values(one) == {"lora_name": "list.safetensors", "strength_model": 0.5, "strength_clip": 0.25}
    assert problems(one) == []


def test_names_beyond_the_known_ones_come_from_the_file() -> None:
    one = node(1, "VAELoader", ["list", "cpu", 7], widgets_values_named={"vae_name": "named", "device": "cpu"})
    assert values(one) == {"vae_name": "list", "device": "cpu"}
    again = node(1, "VAELoader", ["list", "x"], widgets_values_named={"device": "x", "vae_name": "named"})
    assert values(again) == {"vae_name": "list"}


def test_sorted_names_of_an_unknown_class_are_matched_by_their_values() -> None:
    one = node(1, "Unknown", ["z", 1, [2], 1], widgets_values_named={"b": 1, "d": 1, "list": [3], "text": "z"})
    found = samples.nodes_of(graph(one))["1"]
    assert (found.values, found.widget_names) == ({"text": "z", "list": [2]}, ("text", None, "list", None))
    assert problems(one) == []


def test_disagreement_is_found_whatever_the_order_of_the_names() -> None:
    one = node(1, "DualCLIPLoader", ["a", "b"], widgets_values_named={"clip_name2": "a", "clip_name1": "b"})
    assert values(one) == {"clip_name1": "a", "clip_name2": "b"}
    assert problems(one) == [("widget-names-disagree", "1")]


def test_values_written_by_name_are_taken_as_they_are() -> None:
    found = samples.nodes_of(graph(node(1, "VHS_LoadVideo", {"video": "a.mp4", "rate": 0})))["1"]
    assert (found.values, found.positional) == ({"video": "a.mp4", "rate": 0}, ())


def test_names_come_from_the_inputs_when_all_widgets_are_listed() -> None:
    one = node(1, "Unknown", ["a", 2], inputs=[slot("image", widget=False), slot("first"), slot("second")])
    assert values(one) == {"first": "a", "second": 2}


@pytest.mark.parametrize("seed", ["seed", "noise_seed"])
def test_the_widget_behind_a_seed_has_a_value_but_no_input(seed: str) -> None:
    one = node(1, "Unknown", [7, "randomize", 20], inputs=[slot(seed), slot("steps")])
    assert values(one) == {seed: 7, "control_after_generate": "randomize", "steps": 20}


def test_loader_table_names_values_that_do_not_match_the_inputs() -> None:
    one = node(1, "LoraLoader", ["a", 1.0, 0.5], inputs=[slot("strength_model")])
    assert values(one) == {"lora_name": "a", "strength_model": 1.0, "strength_clip": 0.5}


def test_loader_table_names_known_positions() -> None:
    one = node(1, "CheckpointLoader", ["anything.yaml", "a.ckpt"])
    assert values(one) == {"config_name": "anything.yaml", "ckpt_name": "a.ckpt"}


def test_unknown_node_keeps_its_values_by_position() -> None:
    found = samples.nodes_of(graph(node(1, "Unknown", ["a.gguf", 3])))["1"]
    assert (found.values, found.positional, found.widget_names) == ({}, ("a.gguf", 3), ())


@pytest.mark.slow
def test_deeply_nested_values_are_not_compared() -> None:
    deep: object = 1
    for _ in range(900):
        deep = [deep]
    one = node(1, "Unknown", [deep], widgets_values_named={"x": deep})
    assert problems(one) == []


@pytest.mark.parametrize("stored", ["a.safetensors", 5, True])
def test_malformed_values_are_reported_for_loaders_only(stored: object) -> None:
    assert problems({**node(1, "VAELoader"), "widgets_values": stored}) == [("widgets-unreadable", "1")]
    assert problems({**node(1, "Unknown"), "widgets_values": stored}) == []
    assert problems({**node(1, "VAELoader"), "widgets_values": None}) == []


def test_cleared_value_has_neither_name_nor_position() -> None:
    widgets = NodeWidgets({"a": 1, "b": 2}, [1, 2], ("a", "b"))
    widgets.clear_value("b")
    widgets.clear_value("unknown")
    assert (widgets.by_name, widgets.by_position) == ({"a": 1}, [1, WidgetDefault.VALUE])


@pytest.mark.parametrize(("names", "expected"), [(("a", "b"), False), (("a",), True), (("a", None), True)])
def test_values_without_a_name_are_told(names: tuple[str | None, ...], *, expected: bool) -> None:
    assert NodeWidgets({}, [1, 2], names).has_unnamed_value() is expected
