from __future__ import annotations

import pytest

from comfywatchman.comfyui.loaders.table import load_builtin_table
from comfywatchman.comfyui.workflow.promotion import PromotedInput
from comfywatchman.comfyui.workflow.scopes import collect_definitions
from comfywatchman.comfyui.workflow.subgraph_draft import InputTarget, SubgraphDraft
from tests.comfyui.workflow.samples import SUB, Json, graph, link, node, slot, subgraph


def checkpoint(identity: int, link_id: int | None = None) -> Json:
    return node(identity, "CheckpointLoaderSimple", ["a"], inputs=[slot("ckpt_name", link_id)])


def open_draft(definition: Json) -> SubgraphDraft:
    raw = graph(node(1, SUB), definitions={"subgraphs": [definition]})
    return SubgraphDraft.open(collect_definitions(raw, load_builtin_table()), SUB)


def test_added_input_takes_the_place_of_a_link() -> None:
    draft = open_draft(subgraph(node(4, "X"), checkpoint(5, 3), links=[link(3, 4, 5)]))
    assert draft.add_input("ckpt_name", [InputTarget("5", 0)]) == "ckpt_name"
    built = draft.build_graph()
    assert (built.inputs, list(built.links.values())) == (("ckpt_name",), [("-10", 0, "5", 0)])
    assert built.nodes[1].slots[0].link in built.links
    assert draft.find_own_input("5", "ckpt_name") == "ckpt_name"
    assert list(draft.promoted.values()) == [PromotedInput("ckpt_name", "5", "ckpt_name")]


def test_names_of_added_inputs_are_unique() -> None:
    draft = open_draft(subgraph(*map(checkpoint, (5, 6, 7)), inputs=("ckpt_name",), links=[link(1, -10, 5)]))
    names = [draft.add_input("ckpt_name", [InputTarget(node_id, 0)]) for node_id in ("6", "7")]
    assert names == ["ckpt_name_1", "ckpt_name_2"]
    assert draft.has_input("ckpt_name_2")
    assert not draft.has_input("ckpt_name_3")


def test_input_that_loses_its_first_link_shows_the_next_widget() -> None:
    links = [link(1, -10, 5), link(2, -10, 6)]
    draft = open_draft(subgraph(checkpoint(5, 1), checkpoint(6, 2), inputs=("own",), links=links))
    draft.add_input("new", [InputTarget("5", 0)])
    assert (draft.find_own_input("5", "ckpt_name"), draft.find_own_input("6", "ckpt_name")) == ("new", "own")
    draft.add_input("newer", [InputTarget("6", 0)])
    assert [promoted.name for promoted in draft.promoted.values()] == ["new", "newer"]
    assert draft.build_graph().input_links[0] == ()


def test_widget_without_input_gets_one() -> None:
    draft = open_draft(subgraph(node(5, "CheckpointLoaderSimple", ["a"])))
    inner = draft.nodes["5"]
    assert draft.find_position(inner, "ckpt_name") is None
    position = draft.add_slot(inner, "ckpt_name")
    draft.add_input("ckpt_name", [InputTarget("5", position)])
    assert draft.find_position(inner, "ckpt_name") == position
    assert draft.build_graph().nodes[0].slots[position].widget == "ckpt_name"


def primitive(*link_ids: int) -> Json:
    links = [link(link_id, 4, link_id + 10) for link_id in link_ids]
    return subgraph(node(4, "PrimitiveNode", ["p"]), checkpoint(11, 1), checkpoint(12, 2), links=links)


@pytest.mark.parametrize(
    ("links", "data_type", "expected"),
    [
        ((1, 2), "COMBO", ["11", "12"]),
        ((1,), "*", ["11"]),
        ((1,), "INT", None),
        ((1, 9), "COMBO", None),
        ((), "*", None),
    ],
)
def test_targets_of_a_primitive_are_listed_whole_or_not_at_all(
    links: tuple[int, ...], data_type: str, expected: list[str] | None
) -> None:
    draft = open_draft(primitive(*links))
    targets = draft.list_primitive_targets(draft.nodes["4"], data_type)
    assert (None if targets is None else [target.node_id for target in targets]) == expected


def test_removed_link_of_a_primitive_is_no_target() -> None:
    draft = open_draft(primitive(1, 2))
    draft.add_input("ckpt_name", [InputTarget("11", 0)])
    assert draft.list_primitive_targets(draft.nodes["4"], "COMBO") == [InputTarget("12", 0)]
