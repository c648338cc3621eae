from __future__ import annotations

import pytest

from comfywatchman.base.errors import Failure
from tests.comfyui.workflow import samples
from tests.comfyui.workflow.samples import INNER, SUB, graph, link, node, slot, subgraph, with_subgraph


@pytest.mark.parametrize(("mode", "active"), [(0, True), (1, True), (3, True), (2, False), (4, False), ("4", True)])
def test_a_muted_or_bypassed_node_is_kept_as_inactive(mode: object, active: bool) -> None:  # noqa: FBT001
    assert samples.nodes_of(graph(node(1, "VAELoader", ["a"], mode=mode)))["1"].active is active


@pytest.mark.parametrize("mode", [2, 4])
def test_nodes_inside_an_inactive_host_are_inactive_at_every_depth(mode: int) -> None:
    raw = samples.nested_subgraphs()
    raw["nodes"][0]["mode"] = mode
    assert samples.nodes_of(raw)["1:3:7"].active is False


def test_virtual_nodes_are_left_out() -> None:
    assert list(samples.nodes_of(samples.primitive_into_loader())) == ["3"]
    assert list(samples.nodes_of(samples.get_and_set())) == ["1", "4"]


def test_two_instances_of_a_subgraph_have_their_own_values() -> None:
    raw = samples.promoted_checkpoint(widgets_values=["one.safetensors"])
    raw["nodes"].append(node(3, SUB, ["two.safetensors"], mode=4))
    found = samples.nodes_of(raw)
    assert {path: (one.values["ckpt_name"], one.active) for path, one in found.items()} == {
        "2:5": ("one.safetensors", True),
        "3:5": ("two.safetensors", False),
    }


def test_definitions_nested_in_definitions_are_found() -> None:
    inner = subgraph(node(7, "VAELoader", ["deep"])) | {"id": INNER}
    outer = subgraph(node(3, INNER), definitions={"subgraphs": [inner]})
    assert list(samples.nodes_of(with_subgraph(node(1, SUB), outer))) == ["1:3:7"]


def test_instance_without_definition_stays_a_node_and_is_reported() -> None:
    found = samples.read(graph(node(1, SUB, ["a"])))
    assert [one.class_type for one in found.nodes] == [SUB]
    assert [(problem.code, problem.node_path) for problem in found.problems] == [("subgraph-missing", "1")]


def test_a_subgraph_inside_itself_is_reported_and_not_followed() -> None:
    found = samples.read(with_subgraph(node(1, SUB), subgraph(node(2, SUB), node(3, "VAELoader", ["a"]))))
    assert [one.path for one in found.nodes] == ["1:3"]
    assert [(problem.code, problem.node_path) for problem in found.problems] == [("subgraph-cycle", "1:2")]


def numbered(place: int) -> str:
    return f"{place:08x}-0000-4000-8000-000000000000"


@pytest.mark.slow
def test_subgraphs_that_multiply_beyond_any_real_workflow_are_a_failure() -> None:
    chain = [subgraph(node(1, numbered(n + 1)), node(2, numbered(n + 1))) | {"id": numbered(n)} for n in range(40)]
    with pytest.raises(Failure) as caught:
        samples.read(with_subgraph(node(1, numbered(0)), *chain))
    assert caught.value.code == "workflow-too-large"


@pytest.mark.slow
def test_subgraphs_nested_beyond_any_real_workflow_are_a_failure() -> None:
    chain = [subgraph(node(1, numbered(n + 1))) | {"id": numbered(n)} for n in range(100)]
    with pytest.raises(Failure) as caught:
        samples.read(with_subgraph(node(1, numbered(0)), *chain))
    assert caught.value.code == "workflow-too-deep"


def test_a_linked_input_has_no_value() -> None:
    raw = graph(
        node(1, "SomeSource"),
        node(2, "LoraLoader", ["stored", 1, 1], inputs=[slot("model", 2, widget=False), slot("lora_name", 1)]),
        links=[[1, 1, 0, 2, 1, "COMBO"], [2, 1, 1, 2, 0, "MODEL"]],
    )
    found = samples.nodes_of(raw)["2"]
    assert found.values == {"strength_model": 1, "strength_clip": 1}
    assert found.linked == {"model", "lora_name"}


def test_a_converted_widget_that_nothing_feeds_keeps_its_stored_value() -> None:
    loader = node(2, "VAELoader", ["stored"], inputs=[slot("vae_name", 99)])
    assert samples.nodes_of(graph(loader))["2"].values == {"vae_name": "stored"}


def test_links_of_an_input_in_a_definition_are_objects() -> None:
    definition = subgraph(
        node(5, "SomeSource"), node(6, "VAELoader", ["stored"], inputs=[slot("vae_name", 1)]), links=[link(1, 5, 6)]
    )
    assert samples.nodes_of(with_subgraph(node(1, SUB), definition))["1:6"].linked == {"vae_name"}


def test_note_texts_of_both_notations_are_kept() -> None:
    raw = graph(node(1, "Note", ["first", "", 5]), node(2, "MarkdownNote", {"text": "second"}), node(3, "Note", None))
    assert samples.read(raw).notes == ("first", "second")


def test_inputs_without_a_source_are_unfed() -> None:
    inputs = [slot("model", 1, widget=False), slot("clip", 2, widget=False), slot("vae", None, widget=False)]
    raw = graph(node(1, "CheckpointLoaderSimple", ["a"]), node(2, "X", inputs=inputs), links=[[1, 1, 0, 2, 0, "MODEL"]])
    found = samples.nodes_of(raw)["2"]
    assert found.linked == {"model"}
    assert found.links == {"model": ("1", 0, True)}
    assert found.unfed == ("clip", "vae")


def test_use_everywhere_leaves_no_input_unfed() -> None:
    raw = graph(node(2, "X", inputs=[slot("vae", None, widget=False)]), extra={"ue_links": [{"downstream": 2}]})
    assert samples.nodes_of(raw)["2"].unfed == ()


@pytest.mark.parametrize(("mode", "values"), [(0, {"anything": "host.safetensors"}), (2, {}), (4, {})])
def test_socket_of_a_node_that_is_not_sent_gets_no_value(mode: int, values: dict[str, object]) -> None:
    loader = node(5, "CheckpointLoaderSimple", ["inner.safetensors"], inputs=[slot("ckpt_name", 1)])
    shown = node(6, "Show", inputs=[slot("anything", 2, widget=False, kind="*")], mode=mode)
    definition = subgraph(loader, shown, inputs=("ckpt",), links=[link(1, -10, 5), link(2, -10, 6)])
    host = node(2, SUB, ["host.safetensors"], inputs=[slot("ckpt")])
    nodes = samples.nodes_of(with_subgraph(host, definition))
    assert nodes["2:5"].values == {"ckpt_name": "host.safetensors"}
    assert nodes["2:6"].values == values
