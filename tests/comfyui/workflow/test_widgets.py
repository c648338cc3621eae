from __future__ import annotations

import pytest

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


def test_the_named_values_count_when_the_lengths_differ() -> None:
    one = node(1, "VAELoader", ["list.safetensors", "more"], widgets_values_named={"vae_name": "named.safetensors"})
    assert values(one) == {"vae_name": "named.safetensors"}
    assert problems(one) == [("widget-names-disagree", "1")]


def test_named_values_alone_are_enough() -> None:
    assert values(node(1, "VAELoader", widgets_values_named={"vae_name": "a"})) == {"vae_name": "a"}


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
