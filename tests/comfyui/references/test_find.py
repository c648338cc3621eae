from __future__ import annotations

import pytest

from comfywatchman.comfyui.loaders.table import LoaderInput, LoaderTable
from comfywatchman.comfyui.references.reference import Reference
from tests.comfyui.references.finding import find_in, read_api, summarize
from tests.comfyui.workflow.samples import node, slot


def test_known_loader_names_a_file_of_its_folder() -> None:
    assert find_in(node(1, "CLIPVisionLoader", ["sub\\vision.safetensors"])) == [
        Reference(
            node_path="1",
            node_type="CLIPVisionLoader",
            input="clip_name",
            value="sub\\vision.safetensors",
            folder="clip_vision",
            active=True,
            kind="loader",
            evidence="loader table (ComfyUI 0.33.0)",
            confidence="high",
            tries=("sub\\vision.safetensors",),
        )
    ]


def test_muted_loader_gives_an_inactive_reference() -> None:
    assert summarize(node(1, "VAELoader", ["a.pt"], mode=2)) == [("vae_name", "a.pt", "vae", False)]


def test_linked_loader_has_no_reference() -> None:
    loader = node(2, "UltralyticsDetectorProvider", ["bbox/a.pt"], inputs=[slot("model_name", 1)])
    assert summarize(node(1, "Source"), loader, links=[[1, 1, 0, 2, 0, "COMBO"]]) == []


def test_plain_text_node_is_not_guessed() -> None:
    references = find_in(
        node(1, "PrimitiveString", ["a.gguf"]),
        node(2, "Unknown", ["b.gguf"], inputs=[slot("which", 1)]),
        links=[[1, 1, 0, 2, 0, "STRING"]],
    )
    assert [(reference.node_path, reference.input, reference.value) for reference in references] == [
        ("2", "which", "a.gguf")
    ]


def test_auto_downloaded_names_are_not_references() -> None:
    assert find_in(node(1, "RIFE VFI", ["rife47.pth", 10])) == []
    assert read_api("RIFE VFI", ckpt_name="rife47.pth") == []
    values = ["enable", "enable", "enable", 512, "yolox_l.onnx", "dw-ll.onnx"]
    assert find_in(node(1, "DWPreprocessor", values)) == []
    assert read_api("DWPreprocessor", bbox_detector="yolox_l.onnx") == []


def test_presets_and_pickers_are_not_references() -> None:
    assert find_in(node(1, "IPAdapterUnifiedLoader", ["a.bin"])) == []
    assert read_api("ToDetailerPipe", **{"Select to add LoRA": "a.safetensors", "wildcard": "b"}) == []


def test_two_lists_of_different_length_name_each_file_once() -> None:
    loader_node = node(1, "Unknown", ["a.pt", "b", "c"], widgets_values_named={"which": "a.pt", "more": "b"})
    assert summarize(loader_node) == [("which", "a.pt", None, True)]


def test_display_node_has_no_references() -> None:
    assert find_in(node(1, "ShowText|pysssss", ["a.safetensors"]), node(2, "PreviewAny", ["embedding:x"])) == []


@pytest.mark.parametrize("class_type", ["DownloadAndLoadSAM2Model", "DownloadAndLoadAnything"])
def test_nodes_that_download_and_load_need_no_file(class_type: str) -> None:
    assert find_in(node(1, class_type, ["a.safetensors", "video"])) == []
    assert read_api(class_type, model="a.safetensors") == []


def test_widget_read_by_name_is_not_read_by_index() -> None:
    named = {"switch": "On", "lora_name": "a.safetensors", "model": 1}
    loader_node = node(1, "CR Load LoRA", ["On", "a.safetensors", 1, 1, 5], widgets_values_named=named)
    assert summarize(loader_node) == [("lora_name", "a.safetensors", "loras", True)]


def test_linked_input_of_a_merged_table_has_no_reference() -> None:
    table = LoaderTable([LoaderInput("X", "which", "vae", 0, "a test", "medium")])
    loader_node = node(2, "X", ["stale", 1], inputs=[slot("which", 1)])
    assert find_in(node(1, "Source"), loader_node, links=[[1, 1, 0, 2, 0, "*"]], table=table) == []


def test_unnamed_value_beside_a_linked_one_is_read() -> None:
    loader = node(2, "Unknown", ["a.gguf", "b.gguf", 5], inputs=[slot("which", 1)])
    references = find_in(node(1, "PrimitiveString", ["c.gguf"]), loader, links=[[1, 1, 0, 2, 0, "STRING"]])
    assert [reference.value for reference in references] == ["c.gguf", "a.gguf", "b.gguf"]
