"""Inputs that take a file of a person's own, read from a pack's source."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from comfywatchman.comfyui.loaders.upload_inputs import FileInput
from comfywatchman.comfyui.packs.definitions import read_pack_definitions

V1 = """
import os, folder_paths
class N:
    @classmethod
    def INPUT_TYPES(s):
        files = [f for f in os.listdir(folder_paths.get_input_directory()) if os.path.isfile(f)]
        return {"required": {"before": ("INT", {}), "given": %s}}
NODE_CLASS_MAPPINGS = {"N": N}
"""
V3 = """
import os, folder_paths
from comfy_api.latest import ComfyExtension, io
class N(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        files = os.listdir(folder_paths.get_input_directory())
        return io.Schema(node_id="N", inputs=[io.Int.Input("before"), %s], outputs=[])
class E(ComfyExtension):
    async def get_node_list(self):
        return [N]
async def comfy_entrypoint():
    return E()
"""


def read_file_inputs(tmp_path: Path, source: str) -> list[FileInput]:
    (tmp_path / "__init__.py").write_text(dedent(source), "utf-8")
    return read_pack_definitions(tmp_path, ["__init__.py"], label="pack").file_inputs


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ('(sorted(files), {"image_upload": True})', "picture"),
        ('("COMBO", {"animated_image_upload": True, "options": sorted(files)})', "picture"),
        ('(files, {"video_upload": True})', "video"),
        ('(files, {"audio_upload": True, "tooltip": "x"})', "sound"),
        ('(files, {"file_upload": True})', "3D file"),
        ('(made_by_no_one_knows(), {"image_upload": True})', "picture"),
    ],
)
def test_upload_option_gives_the_file_kind(tmp_path: Path, spec: str, kind: str) -> None:
    (file_input,) = read_file_inputs(tmp_path, V1 % spec)
    assert (file_input.class_type, file_input.name, file_input.kind, file_input.widget_index) == ("N", "given", kind, 1)


@pytest.mark.parametrize(
    "spec",
    [
        '(["a", "b"],)',
        '(["none"], {"image_upload": False})',
        '(sorted(files), {"image_upload": UNKNOWN})',
        '("STRING", {"image_upload": True})',
        '("COMBO", "image_upload")',
        "sorted(files)[0]",
        '(folder_paths.get_filename_list("loras"), {"image_upload": True})',
    ],
)
def test_other_combos_take_no_uploaded_file(tmp_path: Path, spec: str) -> None:
    assert read_file_inputs(tmp_path, V1 % spec) == []


def test_choices_beside_files_are_not_files(tmp_path: Path) -> None:
    (file_input,) = read_file_inputs(tmp_path, V1 % '(["no picture", "none"] + sorted(files), {"image_upload": True})')
    assert file_input.not_files == ("", "none", "None", "no picture")


@pytest.mark.parametrize(
    ("spec", "kinds"),
    [
        ('io.Combo.Input("given", options=sorted(files), upload=io.UploadType.video)', ["video"]),
        ('io.Combo.Input("given", options=["none"] + files, upload=io.UploadType.model)', ["3D file"]),
        ('io.Combo.Input("given", options=sorted(files))', []),
        ('io.Combo.Input("given", options=files, upload=io.UploadType.unheard_of)', []),
        ('io.String.Input("given", upload=io.UploadType.image)', []),
        ('io.Combo.Input("given", options=files, upload="image_upload")', []),
    ],
)
def test_v3_upload_type_gives_the_file_kind(tmp_path: Path, spec: str, kinds: list[str]) -> None:
    file_inputs = read_file_inputs(tmp_path, V3 % spec)
    assert [file_input.kind for file_input in file_inputs] == kinds
    assert all((file_input.name, file_input.widget_index) == ("given", 1) for file_input in file_inputs)


def test_input_behind_unknown_width_has_no_index(tmp_path: Path) -> None:
    after = '(files, {"image_upload": True})'
    source = V1.replace('"before": ("INT", {})', '"before": made()') % after
    (file_input,) = read_file_inputs(tmp_path, source)
    assert (file_input.name, file_input.widget_index) == ("given", None)
