from __future__ import annotations

from typing import Any

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
    inputs = [None, slot("model", 7, widget=False, kind="MODEL")]
    graph, _ = read({"nodes": [node(1, "A", inputs=inputs)], "links": [[7, 2, 0, 1, 1, "MODEL"]]})
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


def test_output_is_fed_by_the_first_listed_link_that_exists() -> None:
    outputs = [{}, {"linkIds": [8, 7]}, {"linkIds": [8]}, {"linkIds": 7}]
    graph, _ = read({"outputs": outputs, "links": [[7, 1, 0, -20, 0, "MODEL"]]})
    assert graph.outputs == (None, 7, None, None)


def test_input_lists_its_links_without_missing_ones() -> None:
    raw = {"inputs": [{"name": "a", "linkIds": [8, 7, None]}, {"name": "b"}], "links": [[7, -10, 0, 1, 0, "MODEL"]]}
    graph, _ = read(raw)
    assert (graph.inputs, graph.input_links) == (("a", "b"), ((7,), ()))


@pytest.mark.parametrize(
    ("slot_links", "link", "expected"),
    [
        ([None, None], [7, 2, 0, 1, 1, "*"], [None, 7]),
        ([7, None], [7, 2, 0, 1, 1, "*"], [7, None]),
        ([7, None], [7, 2, 0, 3, 0, "*"], [None, None]),
        ([None, None], [7, 2, 0, 1, 5, "*"], [None, None]),
        ([9, 9], [7, 2, 0, 1, 0, "*"], [7, None]),
    ],
)
def test_link_list_decides_which_slots_are_linked(
    slot_links: list[int | None], link: list[object], expected: list[int | None]
) -> None:
    inputs = [slot("a", slot_links[0]), slot("b", slot_links[1])]
    graph, _ = read({"nodes": [node(1, "A", inputs=inputs)], "links": [link]})
    assert [entry.link for entry in graph.nodes[0].slots] == expected


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ([7, 2, 0, 1, 1, "*"], "b"),
        ([8, 2, 0, 1, 0, "*"], "a"),
        ([8, 2, 0, 1, 5, "*"], None),
        ([8, 2, 0, 3, 0, "*"], None),
    ],
)
def test_link_target_is_the_slot_that_names_it(link: list[Any], expected: str | None) -> None:
    graph, _ = read({"nodes": [node(1, "A", inputs=[slot("a"), slot("b", 7)])], "links": [link]})
    target = graph.find_target(link[0])
    assert (target[1].name if target else None) == expected


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
