from __future__ import annotations

from comfywatchman.comfyui.server.active_nodes import WiredNode, build_wiring
from tests.comfyui.workflow.samples import graph, node, read, slot


def test_duplicate_node_ids_give_no_wiring() -> None:
    workflow = read(graph(node(1, "Save", inputs=[slot("images", widget=False)]), node(1, "Load")))
    assert build_wiring(workflow, ()) == ()


def test_inactive_nodes_are_left_out() -> None:
    assert build_wiring(read(graph(node(1, "Load", mode=2))), ()) == ()


def test_long_texts_and_model_names_are_not_kept() -> None:
    texts = [slot("a"), slot("b"), slot("c"), slot("d")]
    workflow = read(graph(node(1, "Load", ["x" * 65, "two\nlines", "m.safetensors", "euler"], inputs=texts)))
    (wired_node,) = build_wiring(workflow, {("1", "c")})
    assert wired_node.texts == {"d": "euler"}


def test_values_without_names_are_kept_by_index() -> None:
    source = node(1, "Load", outputs=[{"type": "MODEL"}])
    sampler = node(2, "Sample", ["euler", 20], inputs=[slot("model", 1, widget=False, kind="MODEL")])
    workflow = read(graph(source, sampler, links=[[1, 1, 0, 2, 0, "MODEL"]]))
    assert build_wiring(workflow, ())[1] == WiredNode(
        path="2", class_type="Sample", sources=("1",), texts={"#0": "euler"}, places=2, fed=("model",)
    )


def test_api_format_lists_every_given_input() -> None:
    workflow = read({"1": {"class_type": "Save", "inputs": {"images": ["2", 0], "name": "a"}}})
    (wired_node,) = build_wiring(workflow, ())
    assert wired_node.given == ("images", "name")
