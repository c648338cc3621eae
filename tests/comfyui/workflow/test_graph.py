from __future__ import annotations

import pytest

from comfywatchman.comfyui.workflow.document import WorkflowProblem
from comfywatchman.comfyui.workflow.graph import Graph, GraphLink, InputSlot, as_id, get_first_text, read_graph
from tests.comfyui.workflow.samples import Json, node, slot


def read(raw: Json) -> tuple[Graph, list[str]]:
    problems: list[WorkflowProblem] = []
    graph = read_graph(raw, problems)
    return graph, [problem.code for problem in problems]


def test_links_are_read_from_arrays_and_objects() -> None:
    as_object = {"id": 8, "origin_id": 1, "origin_slot": 0, "target_id": 2, "target_slot": 1}
    graph, problems = read({"nodes": [], "links": [[7, 1, 0, 2, 1, "MODEL"], as_object, None]})
    assert graph.links == {7: GraphLink("1", 0, "2", 1), 8: GraphLink("1", 0, "2", 1)}
    assert problems == []


@pytest.mark.parametrize(
    "link", [5, [], [1, 2, 3, 4], [None, 1, 0, 2, 0], [7, 1.5, 0, 2, 0], [7, 1, "0", 2, 0], {"id": 7}]
)
def test_malformed_link_is_reported(link: object) -> None:
    graph, problems = read({"links": [link]})
    assert graph.links == {}
    assert problems == ["link-unreadable"]


def test_malformed_slot_keeps_its_position() -> None:
    graph, _ = read({"nodes": [node(1, "A", inputs=[None, slot("model", 7, widget=False, kind="MODEL")])]})
    assert graph.nodes[0].slots == (InputSlot("", "", None, None), InputSlot("model", "MODEL", 7, None))


def test_first_node_with_a_repeated_id_is_found_by_it() -> None:
    graph, problems = read({"nodes": [node(1, "A"), node("1", "B")]})
    assert [entry.class_type for entry in graph.nodes] == ["A", "B"]
    assert graph.by_id["1"].class_type == "A"
    assert problems == ["duplicate-node-id"]


def test_node_without_id_or_class() -> None:
    graph, problems = read({"nodes": [5, {"type": ""}, {"type": "A", "id": True, "mode": "x"}]})
    assert [(entry.id, entry.mode) for entry in graph.nodes] == [("#2", 0)]
    assert problems == ["node-unreadable", "node-unreadable", "node-without-id"]


def test_outputs_name_the_links_that_feed_them() -> None:
    graph, _ = read({"outputs": [{}, {}], "links": [[7, 1, 0, -20, 1, "MODEL"]]})
    assert graph.outputs == (None, 7)


def test_only_inputs_that_feed_a_widget_take_host_values() -> None:
    raw = {
        "inputs": [{"name": "model"}, {"name": "ckpt"}],
        "nodes": [node(1, "A", inputs=[slot("model", 7, widget=False), slot("ckpt_name", 8)])],
        "links": [[7, -10, 0, 1, 0, "MODEL"], [8, -10, 1, 1, 1, "COMBO"]],
    }
    assert read(raw)[0].widget_inputs == ("ckpt",)


def test_setters_are_found_by_the_name_they_publish() -> None:
    graph, _ = read({"nodes": [node(1, "SetNode", ["x"]), node(2, "SetNode", []), node(3, "GetNode", ["y"])]})
    assert {name: setter.id for name, setter in graph.setters.items()} == {"x": "1"}


@pytest.mark.parametrize(("value", "expected"), [(5, "5"), ("5", "5"), (True, None), (1.5, None), (None, None)])
def test_id_is_an_integer_or_text(value: object, expected: str | None) -> None:
    assert as_id(value) == expected


@pytest.mark.parametrize(
    ("values", "expected"), [(["a", "b"], "a"), ({"x": "a"}, "a"), ([5], None), ([""], None), ([], None), (None, None)]
)
def test_first_text_is_the_first_value(values: object, expected: str | None) -> None:
    assert get_first_text({"widgets_values": values}) == expected
