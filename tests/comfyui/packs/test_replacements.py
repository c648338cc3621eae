from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.comfyui.packs.replacements import EDITOR_RENAMES, choose_replacements, read_replacements

SOURCE = """
from comfy_api.latest import ComfyAPI, io

api = ComfyAPI()

async def register():
    await api.node_replacement.register(io.NodeReplace(
        new_node_id="Preview3D",
        old_node_id="Preview3DAnimation",
        input_mapping=[{"new_id": "a", "old_id": "b"}],
    ))
    await api.node_replacement.register(NodeReplace(old_node_id="Old ", new_node_id="New"))
    await api.node_replacement.register(NodeReplace(old_node_id="Old ", new_node_id="Second"))
    await api.node_replacement.register(NodeReplace(old_node_id=computed(), new_node_id="New"))
    await api.node_replacement.register(NodeReplace(old_node_id="Half"))
    await (lambda: api)()(old_node_id="Call", new_node_id="New")
"""


def write(root: Path, source: str) -> Path:
    (root / "comfy_extras").mkdir()
    (root / "comfy_extras" / "nodes_replacements.py").write_text(source)
    return root


def test_first_replacement_of_a_class_is_read(tmp_path: Path) -> None:
    assert read_replacements(write(tmp_path, SOURCE)) == {"Preview3DAnimation": "Preview3D", "Old ": "New"}


def test_older_comfyui_has_none(tmp_path: Path) -> None:
    assert read_replacements(tmp_path) is None


@pytest.mark.parametrize("source", ["def (", "x = " + "(" * 500, "\0"])
def test_unreadable_source_replaces_nothing(tmp_path: Path, source: str) -> None:
    assert read_replacements(write(tmp_path, source)) == {}


def test_only_classes_that_are_there_replace() -> None:
    chosen = choose_replacements({"Old": "New", "Dead": "Gone"}, {"New"})
    assert (chosen.in_prompts, chosen.in_editor) == ({"Old": "New"}, {})


def test_editor_of_older_versions_renames() -> None:
    chosen = choose_replacements(None, {"Preview3D", "ConditioningAverage"})
    assert chosen.in_prompts == {}
    assert chosen.in_editor == {"Preview3DAnimation": "Preview3D", "ConditioningAverage ": "ConditioningAverage"}
    assert choose_replacements(None, set(EDITOR_RENAMES.values())).in_editor == EDITOR_RENAMES
