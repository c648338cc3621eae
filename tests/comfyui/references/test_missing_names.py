from __future__ import annotations

import pytest

from comfywatchman.comfyui.loaders.table import LoaderInput, LoaderTable, load_builtin_table
from comfywatchman.comfyui.references.find import find_references
from comfywatchman.comfyui.references.missing_names import find_missing_names
from tests.comfyui.workflow import samples
from tests.comfyui.workflow.samples import SUB, Json, graph, link, node, slot, subgraph, with_subgraph


def list_unnamed(raw: Json, table: LoaderTable | None = None) -> list[tuple[str, str | None]]:
    workflow, table = samples.read(raw), table or load_builtin_table()
    return [
        (problem.code, problem.node_path)
        for problem in find_missing_names(workflow, table, find_references(workflow, table))
    ]


def build_prompt(**inputs: object) -> Json:
    return {"1": {"class_type": "CheckpointLoaderSimple", "inputs": inputs}, "2": {"class_type": "X", "inputs": {}}}


def test_omitted_required_name_is_reported() -> None:
    assert list_unnamed(build_prompt()) == [("model-name-absent", "1")]
    assert list_unnamed({"1": {"class_type": "CheckpointLoaderSimple"}}) == [("model-name-absent", "1")]
    assert list_unnamed(build_prompt(ckpt_name="a.ckpt")) == []


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"widgets_values": []},
        {"widgets_values": [None]},
        {"widgets_values_named": {"ckpt_name": "named.safetensors"}},
        {"widgets_values": [], "widgets_values_named": {"ckpt_name": "named.safetensors"}},
    ],
)
def test_name_that_the_editor_does_not_restore_is_reported(stored: Json) -> None:
    assert list_unnamed(graph(node(1, "CheckpointLoaderSimple", **stored))) == [("model-name-absent", "1")]
    assert list_unnamed(graph(node(1, "CheckpointLoaderSimple", mode=4, **stored))) == []


def test_null_of_the_api_format_is_left_to_the_validation() -> None:
    assert list_unnamed(build_prompt(ckpt_name=None)) == []


def test_optional_inputs_may_be_omitted() -> None:
    live = [LoaderInput("X", "which", "vae", 0, "a running server", "high")]
    assert list_unnamed(build_prompt(ckpt_name="a.ckpt"), load_builtin_table().merge(live, override=True)) == []


def test_computed_model_name_is_reported_unless_the_folder_has_a_named_model() -> None:
    computed = build_prompt(ckpt_name=["2", 0])
    assert list_unnamed(computed) == [("model-name-computed", "1")]
    selector = LoaderInput("X", "which", "checkpoints", 0, "a pack", "medium")
    computed["2"]["inputs"] = {"which": "a.ckpt"}
    assert list_unnamed(computed, load_builtin_table().merge([selector])) == []


def test_computed_name_is_reported_for_active_nodes_only() -> None:
    loader = node(2, "CheckpointLoaderSimple", ["stale.ckpt"], inputs=[slot("ckpt_name", 1)])
    links: list[object] = [[1, 1, 0, 2, 0, "COMBO"]]
    assert list_unnamed(graph(node(1, "Source"), loader, links=links)) == [("model-name-computed", "2")]
    assert list_unnamed(graph(node(1, "Source"), {**loader, "mode": 2}, links=links)) == []


def test_default_of_another_widget_is_no_name() -> None:
    # The first widget behind the own input stores no value: the editor sends its default to both.
    loaders = [
        node(5, "CheckpointLoaderSimple", inputs=[slot("ckpt_name", 1)]),
        node(6, "CheckpointLoaderSimple", ["unused.ckpt"], inputs=[slot("ckpt_name", 2)]),
    ]
    definition = subgraph(*loaders, inputs=("ckpt",), links=[link(1, -10, 5), link(2, -10, 6)])
    raw = with_subgraph(node(2, SUB, inputs=[slot("ckpt")]), definition)
    assert find_references(samples.read(raw), load_builtin_table()) == ()
    assert list_unnamed(raw) == [("model-name-absent", "2:5"), ("model-name-absent", "2:6")]
