from __future__ import annotations

import pytest

from comfywatchman.comfyui.loaders.table import LoaderInput, LoaderTable, load_builtin_table
from comfywatchman.comfyui.loaders.tiny_vaes import TinyVaes
from comfywatchman.comfyui.references.loader_values import find_loader_values
from comfywatchman.comfyui.references.reference import MODEL_EXTENSIONS
from comfywatchman.comfyui.workflow.document import WidgetDefault, WorkflowNode
from tests.comfyui.references.finding import find_in, read_api, summarize
from tests.comfyui.workflow.samples import node, slot


@pytest.mark.parametrize("value", [5, 1.5, True, False, ["a"], {"a": 1}, "two\nlines", "", None, "None"])
def test_core_loader_value_without_extension_is_a_reference(value: object) -> None:
    references = find_in(node(1, "CheckpointLoaderSimple", [value]))
    assert [(reference.input, reference.kind) for reference in references] == [("ckpt_name", "loader")]


def test_values_of_other_types_are_formatted() -> None:
    values: list[object] = [None, True, False, 4096, ["a"], {}]
    references = [find_in(node(1, "CheckpointLoaderSimple", [value]))[0].value for value in values]
    assert references == ["null", "true", "false", "4096", "a list of 1", "a mapping of 0"]


@pytest.mark.parametrize("value", ["None", "", "Baked VAE", None])
def test_choices_beside_files_are_not_references(value: object) -> None:
    assert summarize(node(1, "Efficient Loader", ["a.ckpt", value])) == [("ckpt_name", "a.ckpt", "checkpoints", True)]


def test_tiny_vaes_need_an_encoder_and_a_decoder() -> None:
    references = find_in(node(1, "VAELoader", ["taesdxl"]))
    assert [(reference.value, reference.folder, reference.tries[0]) for reference in references] == [
        ("taesdxl", "vae_approx", "taesdxl_encoder.safetensors"),
        ("taesdxl", "vae_approx", "taesdxl_decoder.safetensors"),
    ]
    assert {len(reference.tries) for reference in references} == {len(MODEL_EXTENSIONS)}
    assert [reference.prefix for reference in references] == ["taesdxl_encoder.", "taesdxl_decoder."]


@pytest.mark.parametrize(
    ("value", "folder"),
    [
        ("taeltx_2_3.safetensors", "vae_approx"),
        ("taeh3.safetensors", "vae_approx"),
        ("lighttaew2_1.safetensors", "vae_approx"),
        ("lighttae.safetensors", "vae"),
        ("taesd_encoder.safetensors", "vae"),
        ("my_own_approximation.safetensors", "vae"),
    ],
)
def test_only_known_approximations_are_in_vae_approx(value: str, folder: str) -> None:
    (reference,) = find_in(node(1, "VAELoader", [value]))
    # A file of the folder vae is offered whatever its name is.
    assert (reference.folder, reference.also_folders) == (folder, ("vae",) if folder == "vae_approx" else ())


def test_approximations_are_those_of_the_installed_version() -> None:
    table = load_builtin_table()
    older = table.merge([], tiny_vaes=TinyVaes(("taesd",), ("taehv",)))
    loader = node(1, "VAELoader", ["taeltx_2.safetensors"])
    assert [reference.folder for reference in find_in(loader, table=table)] == ["vae_approx"]
    assert [reference.folder for reference in find_in(loader, table=older)] == ["vae"]
    assert older.merge([]).fingerprint == older.fingerprint != table.fingerprint


def test_pixel_space_vae_needs_no_file() -> None:
    assert find_in(node(1, "VAELoader", ["pixel_space"])) == []


def test_tiny_video_vaes_are_in_vae_approx() -> None:
    assert summarize(node(1, "VAELoader", ["taehv.safetensors"])) == [
        ("vae_name", "taehv.safetensors", "vae_approx", True)
    ]


@pytest.mark.parametrize("part", ["bbox", "segm"])
def test_detector_folder_comes_from_the_name(part: str) -> None:
    references = find_in(node(1, "UltralyticsDetectorProvider", [f"{part}/face.pt"]))
    assert [(reference.value, reference.folder, reference.tries) for reference in references] == [
        (f"{part}/face.pt", f"ultralytics_{part}", ("face.pt",))
    ]


def test_further_folders_of_a_loader_are_kept() -> None:
    (reference,) = find_in(node(1, "CLIPLoaderGGUF", ["t5.gguf", "flux"]))
    assert (reference.folder, reference.also_folders) == ("text_encoders", ("clip_gguf",))


def test_input_known_by_index_gets_its_name_from_the_workflow() -> None:
    named = {"which": "a.ckpt", "m": 1}
    loader_node = node(1, "TripoSRModelLoader_Zho", list(named.values()), widgets_values_named=named)
    assert summarize(loader_node) == [("which", "a.ckpt", "triposr", True)]
    assert summarize(node(1, "TripoSRModelLoader_Zho", ["a.ckpt", 8192])) == [("#0", "a.ckpt", "triposr", True)]


def test_every_input_of_a_stack_is_read() -> None:
    stack = node(1, "CR LoRA Stack", ["On", "a.pt", 1, 1, "Off", "None", 1, 1, "On", "c.pt", 1, 1])
    assert summarize(stack) == [("lora_name_1", "a.pt", "loras", True), ("lora_name_3", "c.pt", "loras", True)]


def test_linked_input_known_by_index_has_no_reference() -> None:
    inputs = [slot("which", 5), slot("m")]
    loader_node = node(2, "TripoSRModelLoader_Zho", ["a.ckpt", 1], inputs=inputs)
    assert summarize(node(1, "Source"), loader_node, links=[[5, 1, 0, 2, 0, "*"]]) == []


def test_index_with_another_name_is_not_the_known_input() -> None:
    loader_node = node(1, "X", ["a.bin", "b"], widgets_values_named={"other": "a", "more": "b"})
    table = LoaderTable([LoaderInput("X", "known", "vae", 0, "a test", "medium")])
    assert [(references.input, references.kind) for references in find_in(loader_node, table=table)] == [
        ("other", "heuristic")
    ]


def test_numbered_inputs_match_every_number() -> None:
    references = read_api(
        "LoadLoraModel", **{"loras.0.lora_name": "a.pt", "loras.12.lora_name": "b.pt", "loras.x.lora_name": "c"}
    )
    assert [(reference.input, reference.value) for reference in references] == [
        ("loras.0.lora_name", "a.pt"),
        ("loras.12.lora_name", "b.pt"),
    ]


@pytest.mark.parametrize("name", ["", "model"])
def test_default_of_a_class_names_no_model(name: str) -> None:
    loader_input = LoaderInput("Mine", name, "loras", 0, "a test", "high")
    for names in ((), ("model",)):
        given = WorkflowNode("1", "Mine", True, {}, (WidgetDefault.VALUE,), widget_names=names)
        assert list(find_loader_values(given, loader_input)) == []
