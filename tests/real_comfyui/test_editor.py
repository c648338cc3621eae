"""The converter of the truth tests against what the editor sends: values of widgets that a subgraph promotes."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.comfyui.workflow.test_editor import PROMPTS, WORKFLOWS
from tests.real_comfyui.editor import Editor

NAMES: Final = [
    *[name for name, prompt in PROMPTS.items() if prompt and name.startswith(("plain:", "primitive:", "socket:"))],
    "default: beside a socket",
    "default: first widget of an own input has no value",
    "default: second widget of an own input has no value",
    "default: the host gives the value",
    "instance: one input feeds two widgets",
    "nested: empty outer list",
    "nested: proxy of the middle",
    "proxies: both widgets of an own input",
    "proxies: second widget of an own input",
]
CLASSES: Final[dict[str, Any]] = {
    name: {"input": {"required": inputs}}
    for name, inputs in {
        "CheckpointLoaderSimple": {"ckpt_name": [[], {}]},
        "DualCLIPLoader": {
            "clip_name1": [[], {}],
            "clip_name2": [[], {}],
            "type": [["sdxl"], {}],
            "device": [["default"], {}],
        },
        "LoraLoader": {
            "model": ["MODEL"],
            "clip": ["CLIP"],
            "lora_name": [[], {}],
            "strength_model": ["FLOAT", {"default": 1}],
            "strength_clip": ["FLOAT", {"default": 1}],
        },
        "LoraLoaderModelOnly": {"model": ["MODEL"], "lora_name": [[], {}], "strength_model": ["FLOAT", {}]},
        "PreviewAny": {"source": ["*", {}]},
        "PrimitiveString": {"value": ["STRING", {}]},
        "VAELoader": {"vae_name": [[], {}]},
    }.items()
}


def drop_nulls(prompt: dict[str, Any]) -> dict[str, Any]:
    """Return the inputs of each node; the editor leaves out a combo without value and choices."""
    return {
        path: {name: value for name, value in node["inputs"].items() if value is not None}
        for path, node in prompt.items()
    }


@pytest.mark.parametrize("name", NAMES)
def test_promoted_widgets_are_converted_as_the_editor_does(name: str) -> None:
    assert drop_nulls(Editor(CLASSES).build_prompt(WORKFLOWS[name])) == drop_nulls(PROMPTS[name])
