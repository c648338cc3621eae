from __future__ import annotations

import pytest

from comfywatchman.comfyui.validation.prompt import PromptNode, build_prompt, is_cut
from comfywatchman.comfyui.validation.signature import Scalar
from comfywatchman.comfyui.workflow.document import LinkSource
from tests.comfyui.workflow.samples import graph, node, read, slot


def test_duplicate_node_ids_give_no_prompt() -> None:
    workflow = read(graph(node(1, "Save", inputs=[slot("images", widget=False)]), node(1, "Load")))
    assert build_prompt(workflow, ()) == ()


def test_nodes_that_are_not_sent_are_left_out() -> None:
    workflow = read(graph(node(1, "Load", mode=2), node(2, "Fast Muter (rgthree)")))
    assert build_prompt(workflow, (), not_sent={"Fast Muter (rgthree)"}) == ()
    assert [prompt_node.path for prompt_node in build_prompt(workflow, ())] == ["2"]


def test_listed_values_are_kept_by_index_with_the_names_of_the_file() -> None:
    values = ["x" * 65, "two\nlines", None, 2, True]
    workflow = read(graph(node(1, "Load", values, inputs=[slot(name) for name in "abcde"])))
    (prompt_node,) = build_prompt(workflow, {("1", "c"), ("2", "c")})
    assert prompt_node == PromptNode(
        path="1",
        class_type="Load",
        values={"#0": "x" * 64 + "…", "#1": "two\nlines…", "#2": None, "#3": 2, "#4": True},
        names=tuple("abcde"),
        count=5,
        unfed=(),
        models=("c",),
    )


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ([1, 2], "{…}"),
        ({"a": 1}, "{…}"),
        (0.5, 0.5),
        (1 << 53, 1 << 53),
        (18446744073709551615, 18446744073709552000),
        (10**400, None),
    ],
)
def test_values_are_kept_as_the_editor_sends_them(value: object, kept: Scalar) -> None:
    # Half a surrogate pair makes the reader use Python's own parser, which keeps integers of any size.
    (prompt_node,) = build_prompt(read(graph(node(1, "Load", [value, "\ud800"]))), ())
    assert prompt_node.values["#0"] == kept


def test_values_by_name_keep_their_names() -> None:
    (prompt_node,) = build_prompt(read(graph(node(1, "Load", {"steps": 20}))), ())
    assert (prompt_node.values, prompt_node.count) == ({"steps": 20}, 0)


def test_links_are_kept_with_their_output() -> None:
    source = node(1, "Load", outputs=[{"type": "MODEL"}])
    sampler = node(2, "Sample", ["euler", 20], inputs=[slot("model", 1, widget=False), slot("vae", widget=False)])
    workflow = read(graph(source, sampler, links=[[1, 1, 0, 2, 0, "MODEL"]]))
    assert build_prompt(workflow, ())[1] == PromptNode(
        path="2",
        class_type="Sample",
        links={"model": LinkSource("1", 0)},
        values={"#0": "euler", "#1": 20},
        count=2,
        unfed=("vae",),
    )


def test_inputs_linked_to_an_unknown_source_are_kept_apart() -> None:
    through = node(2, "X", mode=4, inputs=[slot("any", widget=False, kind="*")], outputs=[{"name": "no type"}])
    end = node(3, "Y", inputs=[slot("model", 2, widget=False)])
    (prompt_node,) = build_prompt(read(graph(through, end, links=[[2, 2, 0, 3, 0, "*"]])), ())
    assert (prompt_node.links, prompt_node.linked, prompt_node.unfed) == ({}, ("model",), ())


def test_api_format_lists_every_given_input() -> None:
    inputs = {"images": ["2", 0], "name": "a", "big": 1 << 60, "odd": [1, 2, 3]}
    (prompt_node,) = build_prompt(read({"1": {"class_type": "Save", "inputs": inputs}}), ())
    assert prompt_node.given == ("big", "images", "name", "odd")
    assert prompt_node.malformed == ("odd",)
    assert prompt_node.unfed is None
    assert prompt_node.values == {"name": "a", "big": 1 << 60, "odd": "{…}"}


@pytest.mark.parametrize(("value", "cut"), [("x" * 64, False), ("x" * 64 + "…", True), (5, False), (None, False)])
def test_cut_texts_are_recognised(value: Scalar, *, cut: bool) -> None:
    assert is_cut(value) is cut
