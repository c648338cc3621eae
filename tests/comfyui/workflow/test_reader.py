from __future__ import annotations

import json

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.loaders.table import load_builtin_table
from comfywatchman.comfyui.workflow.document import DeclaredModel, WorkflowFormat
from comfywatchman.comfyui.workflow.reader import read_workflow
from tests.comfyui.workflow import samples
from tests.comfyui.workflow.samples import graph, link, node, slot


def test_an_empty_graph_is_a_workflow_without_nodes() -> None:
    found = samples.read({"nodes": []})
    assert (found.format, found.nodes, found.problems) == (WorkflowFormat.UI, (), ())


@pytest.mark.parametrize(
    "raw",
    [
        {},
        [],
        "text",
        5,
        None,
        [{"id": 1, "type": "VAELoader"}],
        {"templates": [{"name": "x", "data": "{}"}]},
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "properties": {"nodes": {}}},
        {"nodes": {"1": {"type": "VAELoader"}}},
        {"nodes": [{"name": "a", "x": 1}, 5]},
        {"prompt": {}},
        {"prompt": "text"},
        {"a": {"inputs": {}}},
    ],
)
def test_other_json_is_not_an_empty_workflow(raw: object) -> None:
    with pytest.raises(Failure) as caught:
        samples.read(raw)
    assert caught.value.code == "workflow-not-a-workflow"


def test_failure_names_the_kind_of_file() -> None:
    messages = []
    refused: tuple[object, ...] = ({"templates": []}, {"$defs": {}}, [], 1, {})
    for raw in refused:
        with pytest.raises(Failure) as caught:
            samples.read(raw)
        messages.append(caught.value.message)
    assert len(set(messages)) == 5


def test_versions_of_the_editor_format_are_distinguished() -> None:
    loader = node("7", "CheckpointLoaderSimple", ["stored.safetensors"], inputs=[slot("ckpt_name", 3)])
    text = node(1, "PrimitiveString", ["linked.safetensors"])
    raw: samples.Json = {
        "version": 1,
        "state": {"lastNodeId": 7},
        "nodes": [text, loader],
        "links": [link(3, 1, "7")],
        "reroutes": [],
    }
    found = samples.read(raw)
    assert found.format is WorkflowFormat.UI_V1
    assert found.nodes[1].values == {"ckpt_name": "linked.safetensors"}


def test_the_container_is_carried_through() -> None:
    content = json.dumps(graph()).encode()
    assert read_workflow(content, container="png", table=load_builtin_table()).container == "png"


def test_notes_are_text_not_nodes() -> None:
    found = samples.read(
        graph(node(1, "Note", ["see here"]), node(2, "MarkdownNote", {"text": "and here"}), node(3, "Note"))
    )
    assert (found.nodes, found.notes) == ((), ("see here", "and here"))


def test_models_are_declared_by_the_workflow_and_by_its_nodes() -> None:
    declared = {"name": "a", "url": "https://example.org/a", "directory": "vae", "hash": "ff", "hash_type": "SHA256"}
    raw = graph(node(4, "VAELoader", ["a"], properties={"models": [declared, {"url": "x"}, 7]}), models=[{"name": "b"}])
    assert samples.read(raw).declared == (
        DeclaredModel("b", None, None, None, None, None),
        DeclaredModel("a", "https://example.org/a", "vae", "ff", "SHA256", "4"),
    )


def test_pack_and_title_of_a_node_are_kept() -> None:
    properties = {"cnr_id": "comfy-core", "aux_id": "owner/repo", "ver": "0.3.1"}
    found = samples.nodes_of(graph(node(1, "VAELoader", ["a"], properties=properties, title="My VAE")))["1"]
    assert (found.cnr_id, found.aux_id, found.version, found.title) == ("comfy-core", "owner/repo", "0.3.1", "My VAE")


def test_title_that_repeats_the_class_is_ignored() -> None:
    assert samples.nodes_of(graph(node(1, "VAELoader", title="VAELoader")))["1"].title is None


def test_malformed_entries_are_reported_and_skipped() -> None:
    found = samples.read(
        graph({"id": 1}, node(2, "VAELoader", ["a"]), links=[5, None, ["a"], [1, [], 0, 2, 0], {}]) | {"x": 1}
    )
    assert [one.path for one in found.nodes] == ["2"]
    assert [problem.code for problem in found.problems] == ["node-unreadable", *["link-unreadable"] * 4]


@pytest.mark.parametrize("identity", [None, [], {}, 1.5, True])
def test_a_node_without_a_usable_id_keeps_its_values_under_its_place(identity: object) -> None:
    found = samples.read(graph(node(identity, "VAELoader", ["a"])))
    assert [(one.path, one.values) for one in found.nodes] == [("#0", {"vae_name": "a"})]
    assert [problem.code for problem in found.problems] == ["node-without-id"]


def test_two_nodes_with_one_id_are_both_read_and_reported() -> None:
    found = samples.read(graph(node(1, "VAELoader", ["a"]), node("1", "VAELoader", ["b"])))
    assert [one.values["vae_name"] for one in found.nodes] == ["a", "b"]
    assert [problem.code for problem in found.problems] == ["duplicate-node-id"]
