"""What the editor sends for such files is in `data/editor_prompts.json`; here is what it does not cover."""

from __future__ import annotations

import pytest

from tests.comfyui.workflow import samples
from tests.comfyui.workflow.samples import INNER, SUB, Json, graph, link, node, slot, subgraph


def proxies(*entries: tuple[str, str]) -> Json:
    return {"proxyWidgets": [list(entry) for entry in entries]}


def checkpoint(identity: int, link_id: int | None = None) -> Json:
    return node(identity, "CheckpointLoaderSimple", ["inner"], inputs=[slot("ckpt_name", link_id)])


def names(raw: Json) -> Json:
    return {path: found.values.get("ckpt_name") for path, found in samples.nodes_of(raw).items()}


@pytest.mark.parametrize("definitions", [(0, 1), (1, 0)])
def test_inner_subgraphs_come_first_in_any_order(definitions: tuple[int, int]) -> None:
    # The outer instance names an input that exists only once the inner proxy is converted.
    middle = node(3, INNER, ["middle"], properties=proxies(("5", "ckpt_name")))
    both = [subgraph(middle), subgraph(checkpoint(5)) | {"id": INNER}]
    host = node(2, SUB, ["outer"], properties=proxies(("3", "ckpt_name")))
    raw = graph(host, definitions={"subgraphs": [both[number] for number in definitions]})
    assert names(raw) == {"2:3:5": "outer"}


def test_subgraphs_in_a_circle_are_read() -> None:
    first = subgraph(checkpoint(5), node(6, INNER, ["a"], properties=proxies(("7", "ckpt_name"))))
    second = subgraph(checkpoint(7), node(8, SUB, ["b"], properties=proxies(("5", "ckpt_name")))) | {"id": INNER}
    found = samples.read(graph(node(2, SUB), definitions={"subgraphs": [first, second]}))
    assert {one.path for one in found.nodes} == {"2:5", "2:6:7"}
    assert "subgraph-cycle" in {problem.code for problem in found.problems}


@pytest.mark.parametrize("mark", ["name", "missing", 7])
def test_primitive_that_was_replaced_before_is_known_by_its_mark(mark: object) -> None:
    primitive = node(4, "PrimitiveNode", ["p"], properties={"proxyBypassedToSubgraphInput": mark})
    definition = subgraph(primitive, checkpoint(5, 1), inputs=("name",), links=[link(1, -10, 5)])
    host = node(2, SUB, ["first", "second"], properties=proxies(("9", "x"), ("4", "value")))
    raw = graph(host, definitions={"subgraphs": [definition]})
    assert names(raw) == {"2:5": "second" if mark == "name" else "first"}


@pytest.mark.parametrize(("title", "expected"), [("Name", "Name"), (None, "Primitive"), ("PrimitiveNode", "value")])
def test_input_in_place_of_a_primitive_has_its_title(title: str | None, expected: str) -> None:
    primitive = node(4, "PrimitiveNode", ["p"], title=title)
    definition = subgraph(primitive, checkpoint(5, 1), links=[link(1, 4, 5)])
    host = node(2, SUB, ["first", "second"], properties=proxies(("4", "value"), ("-1", expected)))
    assert names(graph(host, definitions={"subgraphs": [definition]})) == {"2:5": "second"}


def test_instance_in_a_group_node_takes_values_by_order() -> None:
    definition = subgraph(checkpoint(5, 1), inputs=("ckpt",), links=[link(1, -10, 5)])
    group = {"nodes": [node(0, SUB, ["of the group"], index=0)], "links": [], "external": []}
    raw = graph(node(4, "workflow>G"), extra={"groupNodes": {"G": group}}, definitions={"subgraphs": [definition]})
    assert list(names(raw)) == ["4:0:5"]


def test_definition_without_instance_changes_the_others() -> None:
    inner = subgraph(checkpoint(5)) | {"id": INNER}
    unused = subgraph(7, node(3, INNER, properties=proxies(("5", "ckpt_name")))) | {"id": "unused"}  # type: ignore[arg-type]
    raw = graph(node(2, INNER, ["host"]), definitions={"subgraphs": [unused, inner]})
    assert names(raw) == {"2:5": "host"}
    # Its own defects are not reported: it is not part of what is sent.
    assert samples.read(raw).problems == ()
