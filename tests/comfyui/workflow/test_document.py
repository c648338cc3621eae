from __future__ import annotations

import msgspec
import pytest

from comfywatchman.comfyui.workflow.document import LinkSource, WorkflowFormat
from tests.comfyui.workflow.samples import graph, node, nodes_of, read, slot


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (graph(node(1, "VAELoader")), "ui-0.4"),
        ({**graph(node(1, "VAELoader")), "version": 1}, "ui-1"),
        ({"1": {"class_type": "VAELoader", "inputs": {}}}, "api"),
    ],
)
def test_format_is_stored_under_its_name(raw: object, text: str) -> None:
    stored = msgspec.json.encode(read(raw).format)
    assert stored.decode() == f'"{text}"'
    assert msgspec.json.decode(stored, type=WorkflowFormat) is read(raw).format


@pytest.mark.parametrize(("meta", "expected"), [({}, True), ({"title": "A"}, True), (None, False), ([], False)])
def test_only_an_object_is_the_meta_of_a_sent_node(meta: object, *, expected: bool) -> None:
    entry = {"class_type": "VAELoader", "inputs": {}, "_meta": meta}
    assert nodes_of({"1": entry})["1"].has_meta is expected


def test_text_primitive_gives_both_link_and_value() -> None:
    nodes = nodes_of(
        {
            "1": {"class_type": "PrimitiveString", "inputs": {"value": "a.pt"}},
            "2": {"class_type": "VAELoader", "inputs": {"vae_name": ["1", 0]}},
        }
    )
    loader = nodes["2"]
    assert loader.links == {"vae_name": LinkSource("1", 0)}
    assert loader.links["vae_name"].is_certain
    assert (loader.values, loader.linked) == ({"vae_name": "a.pt"}, frozenset())


def test_links_of_a_graph_name_the_output_of_the_file() -> None:
    nodes = nodes_of(
        graph(
            node(1, "CheckpointLoaderSimple", ["a.pt"], outputs=[{"type": "MODEL"}, {"type": "CLIP"}]),
            node(2, "CLIPTextEncode", ["x"], inputs=[slot("clip", 5, widget=False, kind="CLIP"), slot("text")]),
            links=[[5, 1, 1, 2, 0, "CLIP"]],
        )
    )
    encoder = nodes["2"]
    assert encoder.links == {"clip": ("1", 1, True)}
    assert (encoder.linked, encoder.unfed) == (frozenset({"clip"}), ())
    assert not encoder.has_meta
    assert dict(encoder.values) == {"text": "x"}
