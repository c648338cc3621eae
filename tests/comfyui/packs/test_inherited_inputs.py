"""Model inputs of classes that extend a loader of ComfyUI."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from comfywatchman.comfyui.packs.definitions import read_pack_definitions

PACK = """
import nodes
from nodes import CheckpointLoaderSimple, LoraLoader
class Inherits(LoraLoader):
    pass
class Extends(CheckpointLoaderSimple):
    @classmethod
    def INPUT_TYPES(s):
        types = super().INPUT_TYPES()
        types["optional"] = {"prompt": ("STRING", {"hidden": True})}
        return types
class Asks(nodes.VAELoader):
    @classmethod
    def INPUT_TYPES(s):
        return nodes.VAELoader.INPUT_TYPES()
class Replaces(LoraLoader):
    @classmethod
    def INPUT_TYPES(s):
        return {"required": {"text": ("STRING", {})}}
class Other(nodes.KSampler):
    pass
NODE_CLASS_MAPPINGS = {one.__name__: one for one in (Inherits, Extends, Asks, Replaces, Other)}
"""


@pytest.mark.parametrize(
    ("class_type", "inputs"),
    [
        ("Inherits", [("lora_name", "loras")]),
        ("Extends", [("ckpt_name", "checkpoints")]),
        ("Asks", [("vae_name", "vae")]),
        ("Replaces", []),
        ("Other", []),
    ],
)
def test_inputs_of_a_loader_of_comfyui_are_inherited(
    tmp_path: Path, class_type: str, inputs: list[tuple[str, str]]
) -> None:
    (tmp_path / "__init__.py").write_text(dedent(PACK), "utf-8")
    definitions = read_pack_definitions(tmp_path, ["__init__.py"], label="pack")
    found = [row for row in definitions.loader_inputs if row.class_type == class_type]
    assert [(row.name, row.folder) for row in found] == inputs
    assert {(row.widget_index, row.evidence) for row in found} <= {(None, "source of pack")}
