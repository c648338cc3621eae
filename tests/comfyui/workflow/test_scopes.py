from __future__ import annotations

import pytest

from tests.comfyui.workflow import samples
from tests.comfyui.workflow.samples import INNER, SUB, Json, graph, link, node, slot, subgraph, with_subgraph


def checkpoint(raw: Json) -> object:
    return samples.nodes_of(raw)["2:5"].values["ckpt_name"]


@pytest.mark.parametrize(
    "host",
    [
        {"widgets_values": ["host.safetensors"]},
        {"widgets_values": ["host.safetensors", "more"]},
        {"widgets_values": ["host.safetensors"], "properties": {"proxyWidgets": []}},
        {"widgets_values": ["host.safetensors"], "properties": {"proxyWidgets": [["5", "ckpt_name"]]}},
        {"widgets_values": ["host.safetensors"], "properties": {"proxyWidgets": [[5, "5: ckpt_name"]]}},
        {"widgets_values": ["host.safetensors"], "properties": {"proxyWidgets": [["-1", "ckpt"]]}},
        {"widgets_values": ["x", "host.safetensors"], "properties": {"proxyWidgets": [["9", "a"], ["5", "ckpt_name"]]}},
        {"widgets_values": ["host.safetensors"], "widgets_values_named": {"ckpt": "named.safetensors"}},
    ],
)
def test_a_value_of_the_host_replaces_the_inner_one_in_every_notation(host: Json) -> None:
    assert checkpoint(samples.promoted_checkpoint(**host)) == "host.safetensors"


@pytest.mark.parametrize(
    "host",
    [
        {},
        {"widgets_values": []},
        {"widgets_values": {"ckpt": "named"}},
        {"widgets_values_named": {"ckpt": "named"}},
        {"widgets_values": [], "widgets_values_named": {"ckpt": "named"}},
        {"widgets_values": [], "properties": {"proxyWidgets": [["5", "ckpt_name"]]}},
    ],
)
def test_the_inner_value_stands_when_the_host_gives_none(host: Json) -> None:
    assert checkpoint(samples.promoted_checkpoint(**host)) == "inner.safetensors"


def test_values_by_place_go_to_the_inputs_that_feed_a_widget_only() -> None:
    loader = node(5, "LoraLoader", ["inner", 1, 1], inputs=[slot("model", 1, widget=False), slot("lora_name", 2)])
    definition = subgraph(
        loader,
        inputs=("model", "dangling", "lora"),
        links=[link(1, -10, 5), link(2, -10, 5, origin_slot=2, target_slot=1), link(3, -10, 77, origin_slot=1)],
    )
    found = samples.nodes_of(with_subgraph(node(2, SUB, ["host"]), definition))["2:5"]
    assert found.values["lora_name"] == "host"
    assert found.positional == ("host", 1, 1)


def test_stored_value_of_a_linked_host_input_is_ignored() -> None:
    raw = samples.promoted_checkpoint(widgets_values=["stored"], inputs=[slot("ckpt", 1)])
    raw["nodes"].append(node(8, "SomeSource"))
    raw["links"] = [[1, 8, 0, 2, 0, "COMBO"]]
    assert "ckpt_name" not in samples.nodes_of(raw)["2:5"].values


def test_a_text_outside_reaches_the_loader_inside() -> None:
    raw = samples.promoted_checkpoint(widgets_values=["stored"], inputs=[slot("ckpt", 1)])
    raw["nodes"].append(node(8, "PrimitiveString", ["outside.safetensors"]))
    raw["links"] = [[1, 8, 0, 2, 0, "STRING"]]
    assert checkpoint(raw) == "outside.safetensors"


def test_a_host_input_whose_link_leads_nowhere_falls_back_to_the_host_value() -> None:
    raw = samples.promoted_checkpoint(widgets_values=["host"], inputs=[slot("ckpt", 1)])
    assert checkpoint(raw) == "host"


def test_the_outermost_host_decides_over_nested_ones() -> None:
    found = samples.nodes_of(samples.nested_subgraphs())["1:3:7"]
    assert found.values["lora_name"] == "outer.safetensors"


def test_middle_host_decides_when_the_outer_one_has_no_value() -> None:
    raw = samples.nested_subgraphs()
    raw["nodes"][0]["widgets_values"] = []
    raw["definitions"]["subgraphs"][0]["nodes"][0]["widgets_values"] = ["middle.safetensors"]
    assert samples.nodes_of(raw)["1:3:7"].values["lora_name"] == "middle.safetensors"


@pytest.mark.parametrize("proxy", [["3", "lora"], ["3", "7: lora_name"]])
def test_a_proxy_reaches_through_a_nested_host(proxy: list[str]) -> None:
    loader = node(7, "LoraLoaderModelOnly", ["deep", 1.0], inputs=[slot("lora_name", 1)])
    inner = subgraph(loader, inputs=("lora",), links=[link(1, -10, 7)]) | {"id": INNER}
    host = node(1, SUB, ["outer"], properties={"proxyWidgets": [proxy]})
    raw = with_subgraph(host, subgraph(node(3, INNER)), inner)
    assert samples.nodes_of(raw)["1:3:7"].values["lora_name"] == "outer"


def test_a_proxy_sets_a_text_that_feeds_a_loader() -> None:
    definition = subgraph(
        node(4, "PrimitiveString", ["stored"]),
        node(5, "VAELoader", ["other"], inputs=[slot("vae_name", 1)]),
        links=[link(1, 4, 5)],
    )
    host = node(1, SUB, ["host"], properties={"proxyWidgets": [["4", "value"]]})
    assert samples.nodes_of(with_subgraph(host, definition))["1:5"].values == {"vae_name": "host"}


def test_a_definition_without_a_usable_id_is_ignored() -> None:
    raw = graph(node(1, "VAELoader", ["a"]), definitions={"subgraphs": [{"id": 5}, 7, None]})
    assert list(samples.nodes_of(raw)) == ["1"]


def test_a_proxy_of_one_host_leaves_the_other_hosts_alone() -> None:
    loader = node(7, "LoraLoaderModelOnly", ["deep", 1.0], inputs=[slot("lora_name", 1)])
    inner = subgraph(loader, inputs=("lora",), links=[link(1, -10, 7)]) | {"id": INNER}
    host = node(1, SUB, ["outer"], properties={"proxyWidgets": [["3", "lora"]]})
    found = samples.nodes_of(with_subgraph(host, subgraph(node(3, INNER), node(4, INNER)), inner))
    assert {path: one.values["lora_name"] for path, one in found.items()} == {"1:3:7": "outer", "1:4:7": "deep"}
