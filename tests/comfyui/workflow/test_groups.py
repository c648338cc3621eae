from __future__ import annotations

import pytest

from tests.comfyui.workflow import samples
from tests.comfyui.workflow.samples import Json, graph, node, slot

SAMPLER = [1, "fixed", 20, 8, "euler", "normal", 1]


def test_instance_values_replace_those_of_the_definition() -> None:
    found = samples.nodes_of(samples.grouped(["new.safetensors", *SAMPLER, "new-lora.safetensors", 0.5, 1]))
    assert found["4:0"].values == {"ckpt_name": "new.safetensors"}
    assert found["4:2"].values["lora_name"] == "new-lora.safetensors"
    assert found["4:2"].values["strength_model"] == 0.5


@pytest.mark.parametrize("class_type", ["workflow>Loaders", "workflow/Loaders", "Loaders"])
def test_instance_is_recognised_by_each_form_of_its_name(class_type: str) -> None:
    raw = samples.grouped([])
    raw["nodes"][0]["type"] = class_type
    assert list(samples.nodes_of(raw)) == ["4:0", "4:1", "4:2"]


def test_name_form_of_the_manage_group_dialog_is_recognised() -> None:
    raw = samples.grouped([])
    raw["extra"]["groupNodes"] = {"## Loaders [aa11]": raw["extra"]["groupNodes"]["Loaders"]}
    raw["nodes"][0]["type"] = "workflow>## Loaders [aa11]"
    assert list(samples.nodes_of(raw)) == ["4:0", "4:1", "4:2"]


def test_short_list_of_an_instance_is_assigned_in_order_and_reported() -> None:
    found = samples.read(samples.grouped(["new.safetensors", 1]))
    assert [one.values for one in found.nodes] == [{"ckpt_name": "new.safetensors"}, {"seed": 1}, {}]
    assert [(problem.code, problem.node_path) for problem in found.problems] == [("group-values-unmapped", "4")]


@pytest.mark.parametrize("stored", [None, [], {"ckpt_name": "map.safetensors"}])
def test_instance_without_a_list_has_no_value_of_the_file(stored: object) -> None:
    raw = samples.grouped([])
    raw["nodes"][0]["widgets_values"] = stored
    found = samples.read(raw)
    assert [one.values for one in found.nodes] == [{}, {}, {}]
    assert [problem.code for problem in found.problems] == ["group-values-unmapped"]


def test_null_of_the_instance_is_a_value() -> None:
    found = samples.nodes_of(samples.grouped([None, *SAMPLER, "new-lora.safetensors", 1, 1]))
    assert found["4:0"].values == {"ckpt_name": None}


def test_known_class_without_stored_values_still_takes_its_part() -> None:
    raw = samples.grouped(["new.safetensors", *SAMPLER, "new-lora.safetensors", 0.5, 1])
    for inner in raw["extra"]["groupNodes"]["Loaders"]["nodes"]:
        del inner["widgets_values"]
    found = samples.nodes_of(raw)
    assert found["4:0"].values == {"ckpt_name": "new.safetensors"}
    assert found["4:2"].values["lora_name"] == "new-lora.safetensors"


def test_unlinked_primitive_of_a_group_has_no_widget() -> None:
    inner = [node(0, "PrimitiveNode", ["x", "fixed"]), node(0, "VAELoader", ["old"])]
    raw = graph(node(4, "workflow>g", ["new"]), extra={"groupNodes": {"g": {"nodes": inner, "links": []}}})
    assert samples.nodes_of(raw)["4:1"].values == {"vae_name": "new"}


def test_value_names_of_the_definition_apply_to_instance_values() -> None:
    raw = samples.grouped(["new", *SAMPLER, "new-lora", 1, 1])
    inner = raw["extra"]["groupNodes"]["Loaders"]["nodes"][0]
    inner["type"] = "Unknown"
    inner["widgets_values_named"] = {"which": "old.safetensors"}
    assert samples.nodes_of(raw)["4:0"].values == {"which": "new"}


def converted(host_inputs: list[Json], host_values: list[object], links: list[object]) -> Json:
    loader = node(0, "LoraLoader", ["old", 1, 1], inputs=[slot("lora_name", 77)], index=0)
    definition = {"nodes": [loader], "links": [], "external": []}
    host = node(4, "workflow>g", host_values, inputs=host_inputs)
    source = node(1, "PrimitiveString", ["outside"])
    return graph(source, host, links=links, extra={"groupNodes": {"g": definition}})


@pytest.mark.parametrize("name", ["lora_name", "LoraLoader lora_name"])
def test_converted_widget_is_fed_by_the_instance_input(name: str) -> None:
    raw = converted([slot(name, 5)], [0.25, 1], [[5, 1, 0, 4, 0, "STRING"]])
    found = samples.nodes_of(raw)["4:0"]
    assert found.values == {"lora_name": "outside", "strength_model": 0.25, "strength_clip": 1}


def test_listed_widget_without_link_keeps_its_value() -> None:
    found = samples.nodes_of(converted([], [1, 1, "new"], []))["4:0"]
    assert found.values["lora_name"] == "new"


def test_inner_text_takes_the_value_of_the_instance() -> None:
    source = node(0, "PrimitiveString", ["inside"], index=0)
    loader = node(0, "VAELoader", ["old"], inputs=[slot("vae_name", 3)], index=1)
    definition = {"nodes": [source, loader, 5], "links": [[0, 0, 1, 0, 3, "STRING"], [None, 0], 7, [None, 0, 1, 0]]}
    raw = graph(node(4, "workflow>g", ["typed"]), extra={"groupNodes": {"g": definition}})
    assert samples.nodes_of(raw)["4:1"].values == {"vae_name": "typed"}


def test_nested_groups_are_flattened_and_cycles_end() -> None:
    inner = {"nodes": [node(0, "VAELoader", ["a"])], "links": []}
    outer = {"nodes": [node(0, "workflow>inner", ["b"]), node(1, "workflow>outer")], "links": []}
    found = samples.read(
        graph(node(4, "workflow>outer", ["c"]), extra={"groupNodes": {"inner": inner, "outer": outer}})
    )
    assert [one.path for one in found.nodes] == ["4:0:0"]
    assert [problem.code for problem in found.problems] == ["subgraph-cycle"]


@pytest.mark.parametrize("definition", [None, 7, {}, {"nodes": 5}])
def test_an_instance_without_usable_definition_stays_a_node(definition: object) -> None:
    raw = graph(node(4, "workflow>g", ["a"]), extra={"groupNodes": {"g": definition}})
    assert [one.class_type for one in samples.read(raw).nodes] == ["workflow>g"]


def test_instance_that_lists_linked_widgets_too() -> None:
    raw = converted([slot("lora_name", 5)], [0.25, 1, "stored"], [[5, 1, 0, 4, 0, "STRING"]])
    found = samples.nodes_of(raw)["4:0"]
    assert found.values == {"lora_name": "outside", "strength_model": 0.25, "strength_clip": 1}


LOADER_GROUP = {"groupNodes": {"g": {"nodes": [node(0, "VAELoader", ["v.safetensors"], index=0)], "links": []}}}


@pytest.mark.parametrize(
    ("host_mode", "group_mode", "is_sent"), [(0, 0, True), (0, 2, False), (0, 4, False), (2, 0, False), (4, 0, False)]
)
def test_editor_sends_a_group_in_a_subgraph_unopened(host_mode: int, group_mode: int, *, is_sent: bool) -> None:
    definition = samples.subgraph(node(3, "workflow>g", ["new"], mode=group_mode))
    host = node(2, samples.SUB, mode=host_mode)
    found = samples.read(graph(host, definitions={"subgraphs": [definition]}, extra=LOADER_GROUP))
    # What is in the group is still listed: other versions of the editor may open it.
    assert [(one.path, one.values) for one in found.nodes] == [("2:3:0", {"vae_name": "new"})]
    problems = [(problem.code, problem.node_path) for problem in found.problems]
    assert problems == ([("editor-cannot-send", "2:3")] if is_sent else [])
