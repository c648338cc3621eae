from __future__ import annotations

import pytest

from tests.comfyui.workflow import samples
from tests.comfyui.workflow.samples import SUB, Json, graph, link, node, slot, subgraph

TEXT = node(1, "PrimitiveString", ["text.safetensors"])


def loaded(*nodes: Json, links: list[list[object]], kind: str = "COMBO", **more: object) -> object:
    """Give what a VAELoader with id 9, fed by link 9, would load; None when only a run can tell."""
    loader = node(9, "VAELoader", ["stored"], inputs=[slot("vae_name", 9, kind=kind)])
    return samples.nodes_of(graph(*nodes, loader, links=links, **more))["9"].values.get("vae_name")


@pytest.mark.parametrize("class_type", ["PrimitiveNode", "PrimitiveString", "PrimitiveStringMultiline"])
def test_a_primitive_supplies_its_value(class_type: str) -> None:
    assert loaded(node(1, class_type, ["text"]), links=[[9, 1, 0, 9, 0, "STRING"]]) == "text"


def test_a_primitive_with_values_by_name_supplies_its_value() -> None:
    assert loaded(node(1, "PrimitiveString", {"value": "text"}), links=[[9, 1, 0, 9, 0, "STRING"]]) == "text"


@pytest.mark.parametrize("values", [None, [], "x", 5])
def test_an_empty_primitive_leaves_the_stored_value(values: object) -> None:
    assert loaded(node(1, "PrimitiveNode", values), links=[[9, 1, 0, 9, 0, "STRING"]]) == "stored"


def test_a_text_node_fed_by_another_one_gives_the_value_of_the_first() -> None:
    second = node(2, "PrimitiveString", ["unused"], inputs=[slot("value", 1)])
    assert loaded(TEXT, second, links=[[1, 1, 0, 2, 0, "STRING"], [9, 2, 0, 9, 0, "STRING"]]) == "text.safetensors"


@pytest.mark.parametrize("class_type", ["Reroute (rgthree)", "SetNode"])
def test_nodes_that_only_pass_on_are_followed(class_type: str) -> None:
    through = node(2, class_type, ["x"], inputs=[slot("", 1, widget=False)])
    assert loaded(TEXT, through, links=[[1, 1, 0, 2, 0, "*"], [9, 2, 0, 9, 0, "*"]]) == "text.safetensors"


def test_a_reroute_drops_its_link_to_an_input_of_another_type() -> None:
    through = node(2, "Reroute", inputs=[slot("", 1, widget=False)])
    links = [[1, 1, 0, 2, 0, "*"], [9, 2, 0, 9, 0, "*"]]
    assert loaded(TEXT, through, links=links) == "stored"
    untyped = node(1, "PrimitiveString (pack)", outputs=[{"type": ""}])
    assert loaded(untyped, through, links=links) != "stored"


@pytest.mark.parametrize("inputs", [[], [slot("")]])
def test_a_reroute_that_nothing_feeds_leaves_the_stored_value(inputs: list[Json]) -> None:
    assert loaded(node(2, "Reroute", inputs=inputs), links=[[9, 2, 0, 9, 0, "*"]]) == "stored"


def test_a_getter_reads_what_the_setter_of_its_name_publishes() -> None:
    assert samples.nodes_of(samples.get_and_set())["4"].values == {"vae_name": "published.safetensors"}


def test_a_getter_in_a_subgraph_reads_a_setter_outside() -> None:
    definition = subgraph(
        node(3, "GetNode", ["name"]),
        node(5, "VAELoader", ["stored"], inputs=[slot("vae_name", 1)]),
        links=[link(1, 3, 5)],
    )
    setter = node(2, "SetNode", ["name"], inputs=[slot("", 1)])
    raw = graph(TEXT, setter, node(4, SUB), links=[[1, 1, 0, 2, 0, "*"]], definitions={"subgraphs": [definition]})
    assert samples.nodes_of(raw)["4:5"].values == {"vae_name": "text.safetensors"}


@pytest.mark.parametrize("name", ["other", None])
def test_a_getter_without_setter_leaves_the_stored_value(name: str | None) -> None:
    setter = node(2, "SetNode", ["name"], inputs=[])
    assert loaded(setter, node(3, "GetNode", [name]), links=[[9, 3, 0, 9, 0, "*"]]) == "stored"


def test_the_output_of_a_real_node_is_known_only_in_a_run() -> None:
    assert loaded(node(1, "Anything"), links=[[9, 1, 0, 9, 0, "*"]]) is None


def test_a_muted_source_leaves_the_stored_value() -> None:
    assert loaded(node(1, "Anything", mode=2), links=[[9, 1, 0, 9, 0, "*"]]) == "stored"


def bypassed(*inputs: Json, outputs: object) -> Json:
    return node(2, "Anything", mode=4, inputs=list(inputs), outputs=outputs)


def test_a_bypassed_node_passes_on_the_input_of_the_same_type() -> None:
    other = slot("image", 5, widget=False, kind="IMAGE")
    through = bypassed(other, slot("text", 1, kind="STRING"), outputs=[{"type": "STRING"}])
    links: list[list[object]] = [[1, 1, 0, 2, 1, "STRING"], [9, 2, 0, 9, 0, "STRING"]]
    assert loaded(TEXT, through, links=links, kind="STRING") == "text.safetensors"
    assert loaded(TEXT, through, links=links, kind="COMBO") == "stored"


@pytest.mark.parametrize("outputs", [[], None, [7], [{"type": "MODEL"}]])
def test_bypassed_node_without_matching_input_leaves_the_stored_value(outputs: object) -> None:
    through = bypassed(slot("text", 1, kind="STRING"), outputs=outputs)
    assert loaded(TEXT, through, links=[[1, 1, 0, 2, 0, "STRING"], [9, 2, 0, 9, 0, "STRING"]]) == "stored"


def test_a_value_that_comes_out_of_a_subgraph_is_found() -> None:
    definition = subgraph(node(3, "PrimitiveString", ["inside"]), links=[link(4, 3, -20)], outputs=[{"name": "text"}])
    raw: Json = {"definitions": {"subgraphs": [definition]}}
    assert loaded(node(1, SUB), links=[[9, 1, 0, 9, 0, "*"]], **raw) == "inside"
    assert loaded(node(1, SUB), links=[[9, 1, 5, 9, 0, "*"]], **raw) == "stored"


def test_a_value_that_goes_through_a_subgraph_is_found() -> None:
    definition = subgraph(
        node(3, "Reroute", inputs=[slot("", 4)]),
        inputs=("text",),
        links=[link(4, -10, 3), link(5, 3, -20)],
        outputs=[{"name": "text"}],
    )
    host = node(2, SUB, inputs=[slot("text", 1)])
    links = [[1, 1, 0, 2, 0, "*"], [9, 2, 0, 9, 0, "*"]]
    assert loaded(TEXT, host, links=links, definitions={"subgraphs": [definition]}) == "text.safetensors"


def test_links_in_a_circle_end() -> None:
    one, other = (node(n, "Reroute", inputs=[slot("", n)]) for n in (1, 2))
    links: list[list[object]] = [[1, 2, 0, 1, 0, "*"], [2, 1, 0, 2, 0, "*"], [9, 1, 0, 9, 0, "*"]]
    assert loaded(one, other, links=links) == "stored"


@pytest.mark.parametrize("origin_slot", [-1, 1, 99])
def test_a_link_from_an_own_input_that_does_not_exist_leaves_the_stored_value(origin_slot: int) -> None:
    definition = subgraph(
        node(5, "VAELoader", ["stored"], inputs=[slot("vae_name", 1)]),
        inputs=("x",),
        links=[link(1, -10, 5, origin_slot=origin_slot)],
    )
    raw = graph(node(1, SUB, inputs=[slot("x", 3)]), definitions={"subgraphs": [definition]})
    assert samples.nodes_of(raw)["1:5"].values == {"vae_name": "stored"}


def test_a_getter_that_stores_its_name_by_name_is_followed() -> None:
    setter = node(2, "SetNode", {"Constant": "name"}, inputs=[slot("", 1)])
    getter = node(3, "GetNode", {"Constant": "name"})
    assert loaded(TEXT, setter, getter, links=[[1, 1, 0, 2, 0, "*"], [9, 3, 0, 9, 0, "*"]]) == "text.safetensors"


def test_a_malformed_input_keeps_its_place_among_the_others() -> None:
    raw = node(2, "Anything", mode=4, outputs=[{}, {"type": "STRING"}])
    raw["inputs"] = [7, slot("text", 1, kind="STRING")]
    links: list[list[object]] = [[1, 1, 0, 2, 1, "STRING"], [9, 2, 1, 9, 0, "STRING"]]
    assert loaded(TEXT, raw, links=links, kind="STRING") == "text.safetensors"


@pytest.mark.parametrize("places", [("0", 0), (0, None), (0.5, 0)])
def test_malformed_link_is_ignored(places: tuple[object, object]) -> None:
    assert loaded(TEXT, links=[[9, 1, places[0], 9, places[1], "STRING"]]) == "stored"


def test_only_the_text_that_a_proxy_names_is_set_by_it() -> None:
    definition = subgraph(
        node(4, "PrimitiveString", ["stored"]),
        node(5, "VAELoader", ["other"], inputs=[slot("vae_name", 1)]),
        links=[link(1, 4, 5)],
    )
    host = node(1, SUB, ["host"], properties={"proxyWidgets": [["3", "value"]]})
    raw = graph(host, definitions={"subgraphs": [definition]})
    assert samples.nodes_of(raw)["1:5"].values == {"vae_name": "stored"}


def test_a_bypassed_node_prefers_the_input_at_the_place_of_its_output() -> None:
    inputs = [slot("first", 2, kind="STRING"), slot("second", 1, kind="STRING")]
    through = node(2, "Anything", mode=4, inputs=inputs, outputs=[{"type": "STRING"}, {"type": "STRING"}])
    links: list[list[object]] = [[1, 1, 0, 2, 1, "STRING"], [2, 3, 0, 2, 0, "STRING"], [9, 2, 1, 9, 0, "STRING"]]
    other = node(3, "PrimitiveString", ["other"])
    assert loaded(TEXT, other, through, links=links, kind="STRING") == "text.safetensors"


def find_link(*nodes: Json, links: list[list[object]], **more: object) -> object:
    """Give the output that feeds the VAELoader of `loaded` in the prompt."""
    loader = node(9, "VAELoader", ["stored"], inputs=[slot("vae_name", 9)])
    return samples.nodes_of(graph(*nodes, loader, links=links, **more))["9"].links.get("vae_name")


@pytest.mark.parametrize("origin_slot", [0, 3])
def test_link_names_the_output_of_its_node(origin_slot: int) -> None:
    assert find_link(node(1, "X"), links=[[9, 1, origin_slot, 9, 0, "*"]]) == ("1", origin_slot, True)


def test_text_primitive_is_linked_although_its_value_is_known() -> None:
    assert find_link(TEXT, links=[[9, 1, 0, 9, 0, "STRING"]]) == ("1", 0, True)
    second = node(2, "PrimitiveString", ["unused"], inputs=[slot("value", 1)])
    both = [[1, 1, 0, 2, 0, "STRING"], [9, 2, 0, 9, 0, "STRING"]]
    assert find_link(TEXT, second, links=both) == ("2", 0, True)
    assert find_link(node(1, "X"), second, links=both) == ("2", 0, True)
    assert find_link(node(1, "PrimitiveString"), links=both[1:]) is None
    assert find_link(node(2, "PrimitiveString"), links=both[1:]) == ("2", 0, True)


@pytest.mark.parametrize("mode", [2, 4])
def test_inactive_text_primitive_feeds_nothing(mode: int) -> None:
    assert find_link(node(1, "PrimitiveString", ["x"], mode=mode), links=[[9, 1, 0, 9, 0, "STRING"]]) is None


def test_primitive_node_is_not_linked() -> None:
    assert find_link(node(1, "PrimitiveNode", ["x"]), links=[[9, 1, 0, 9, 0, "STRING"]]) is None


@pytest.mark.parametrize(("kind", "is_certain"), [("*", True), (None, False)])
def test_link_through_a_bypass_is_certain_where_types_are_given(kind: str | None, *, is_certain: bool) -> None:
    through = bypassed(slot("any", 1, widget=False, kind="*"), outputs=[{"type": kind}])
    links: list[list[object]] = [[1, 1, 2, 2, 0, "*"], [9, 2, 0, 9, 0, "*"]]
    assert find_link(node(1, "X"), through, links=links) == ("1", 2, is_certain)
    assert find_link(TEXT, through, links=links) == ("1", 2, is_certain)
