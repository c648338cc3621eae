from __future__ import annotations

import pytest
from msgspec.structs import replace

from comfywatchman.comfyui.install.reachability import Obstacle, ObstacleKind
from comfywatchman.comfyui.validation.rejection import RejectionReason
from comfywatchman.readiness.report.missing_names import list_missing_names, missing_model_text
from comfywatchman.readiness.states import ModelState
from comfywatchman.readiness.status import MissingInput, MissingModel, MissingNode, RefusedInput


def model(name: str, state: ModelState = ModelState.MISSING) -> MissingModel:
    return MissingModel(
        name=name,
        folder="loras",
        node_type="LoraLoader",
        node_path="1",
        input="lora_name",
        status=state,
        fix=None,
        evidence="",
        confidence="high",
    )


def input_file(name: str, *, required: bool) -> MissingInput:
    return MissingInput(
        name=name,
        folder="input",
        kind="picture",
        node_type="LoadImage",
        node_path="2",
        input="image",
        fix="",
        required=required,
    )


def test_everything_that_is_missing_is_listed_in_order() -> None:
    lacks = list_missing_names(
        nodes=[MissingNode("TeaNode", "missing", ("3",))],
        models=[model("ink.safetensors")],
        problems=["It is not JSON."],
        refused=[RefusedInput("prefix", None, "Save", "4", RejectionReason.NOT_GIVEN, "")],
        inputs=[input_file("cat.png", required=True), input_file("dog.png", required=False)],
    )
    assert lacks == ["TeaNode", "ink.safetensors", "It is not JSON.", "Save: prefix", "cat.png"]


@pytest.mark.parametrize("state", [state for state in ModelState if state is not ModelState.MISSING])
def test_other_states_than_missing_are_named(state: ModelState) -> None:
    assert missing_model_text(model("a.safetensors", state)) == f"a.safetensors ({state.value.replace('_', ' ')})"


def test_file_that_could_not_be_looked_for_is_marked() -> None:
    obstacle = Obstacle(ObstacleKind.UNREADABLE, "/input", "Permission denied")
    file = replace(input_file("a.png", required=True), obstacle=obstacle)
    assert list_missing_names(nodes=[], models=[], problems=[], refused=[], inputs=[file]) == ["a.png (unknown)"]
