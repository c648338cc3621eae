from __future__ import annotations

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.server.prompts import Prompt
from comfywatchman.handler.checks import check_workflow, find_unused_inputs, replace_input_names
from comfywatchman.handler.request import RequestInput

OBJECT_INFO = {
    "Load": {"input": {"required": {"model": [["a.safetensors", "b.ckpt"], {}], "mode": [["fast"], {}]}}},
    "New": {"input": {"required": {"model": ["COMBO", {"options": ["sub/c.gguf"]}]}}},
    "Empty": {"input": {"required": {"model": [[], {}]}}},
}


def load(class_type: str = "Load", **inputs: object) -> dict[str, dict[str, object]]:
    return {"1": {"class_type": class_type, "inputs": inputs}}


@pytest.mark.parametrize(
    "workflow",
    [load(model="a.safetensors"), load(model=["2", 0]), load(mode="slow"), load("New", model="sub/c.gguf"), load()],
)
def test_workflow_that_the_server_can_run_is_accepted(workflow: dict[str, dict[str, object]]) -> None:
    check_workflow(workflow, OBJECT_INFO)


@pytest.mark.parametrize("class_type", ["Load", "New", "Empty"])
def test_missing_models_are_named(class_type: str) -> None:
    with pytest.raises(Failure) as raised:
        check_workflow(load(class_type, model="x.safetensors"), OBJECT_INFO)
    assert raised.value.code == "handler-models-missing"
    assert raised.value.facts["models"] == [{"class_type": class_type, "input": "model", "name": "x.safetensors"}]


def test_unknown_classes_are_named() -> None:
    workflow = {"1": {"class_type": "B", "inputs": {}}, "2": {"class_type": "A\x1b", "inputs": {}}}
    with pytest.raises(Failure) as raised:
        check_workflow({**load(), **workflow, "3": {"class_type": "B", "inputs": {}}}, OBJECT_INFO)
    assert raised.value.code == "handler-nodes-missing"
    assert raised.value.facts["node_types"] == ["A\x1b", "B"]
    assert "\x1b" not in raised.value.message


def test_inputs_are_replaced_where_a_node_names_them() -> None:
    workflow: Prompt = {"1": {"class_type": "L", "inputs": {"image": "a.png", "text": "an a.png", "link": ["2", 0]}}}
    changed = replace_input_names(workflow, {"a.png": "cw_a.png"})
    assert changed["1"]["inputs"] == {"image": "cw_a.png", "text": "an a.png", "link": ["2", 0]}
    assert workflow["1"]["inputs"]["image"] == "a.png"


def test_unused_inputs_are_found() -> None:
    inputs = (RequestInput("a.png"), RequestInput("b.png"))
    assert find_unused_inputs(load(image="a.png"), inputs) == ("b.png",)
