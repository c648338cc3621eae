"""The reader against what ComfyUI's own editor sends for the same files (`scripts/editor_prompts.py`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from comfywatchman.comfyui.workflow.document import WorkflowNode
from tests.comfyui.workflow import samples
from tests.comfyui.workflow.samples import Json

RECORDED: Final[Json] = json.loads(Path(__file__).with_name("data").joinpath("editor_prompts.json").read_bytes())
WORKFLOWS: Final[Json] = RECORDED["workflows"]
PROMPTS: Final[Json] = RECORDED["prompts"]
MODEL_INPUTS: Final = ("ckpt_name", "vae_name", "lora_name", "clip_name1", "clip_name2", "source", "value")
TEXTS: Final = "PrimitiveString"


def read_inputs(node: WorkflowNode) -> Json:
    """Return the inputs that a node would send, as far as the file gives them."""
    if node.class_type == TEXTS and node.positional:
        return {"value": node.positional[0]}
    inputs: Json = {name: value for name, value in node.values.items() if name in MODEL_INPUTS}
    linked = node.linked.intersection(MODEL_INPUTS).difference(node.unfed)
    return inputs | dict.fromkeys(linked, "a link")


def sent_inputs(entry: Json, prompt: Json) -> Json:
    """Return the inputs that the editor sends; the value of a text node in place of the link to it."""
    inputs: Json = {}
    for name, value in entry["inputs"].items():
        if name not in MODEL_INPUTS:
            continue
        inputs[name] = value
        if isinstance(value, list):
            source = prompt[value[0]]
            is_text = source["class_type"] == TEXTS and source["inputs"]["value"] and name != "source"
            inputs[name] = source["inputs"]["value"] if is_text else "a link"
    return inputs


def without_defaults(inputs: Json) -> Json:
    """Leave out the values that the editor takes from the class and not from the file (here: empty lists)."""
    return {name: value for name, value in inputs.items() if value not in (None, "")}


@pytest.mark.parametrize("name", [name for name, prompt in PROMPTS.items() if prompt is not None])
@pytest.mark.slow
def test_values_equal_what_the_editor_sends(name: str) -> None:
    prompt = PROMPTS[name]
    expected = [(entry["class_type"], without_defaults(sent_inputs(entry, prompt))) for entry in prompt.values()]
    found = [
        (one.class_type, without_defaults(read_inputs(one)))
        for one in samples.read(WORKFLOWS[name]).nodes
        if one.active
    ]
    assert sort(found) == sort(expected)


def sort(entries: list[tuple[str, Json]]) -> list[Any]:
    return sorted(entries, key=repr)


@pytest.mark.parametrize("name", [name for name, prompt in PROMPTS.items() if prompt is None])
def test_file_that_the_editor_cannot_send_is_reported(name: str) -> None:
    assert "editor-cannot-send" in {problem.code for problem in samples.read(WORKFLOWS[name]).problems}


@pytest.mark.parametrize("name", [name for name in WORKFLOWS if "list and names differ" in name])
def test_disagreement_of_list_and_names_is_reported(name: str) -> None:
    assert "widget-names-disagree" in {problem.code for problem in samples.read(WORKFLOWS[name]).problems}
