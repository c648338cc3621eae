from __future__ import annotations

import pytest

from comfywatchman.comfyui.loaders.table import LoaderInput, LoaderTable, load_builtin_table
from comfywatchman.comfyui.references.find import find_references, find_unnamed_models
from comfywatchman.comfyui.references.reference import MODEL_EXTENSIONS, Reference
from tests.comfyui.workflow import samples
from tests.comfyui.workflow.samples import Json, graph, node, slot

Short = tuple[str, str, str | None, bool]


def references(*nodes: Json, table: LoaderTable | None = None, links: list[object] | None = None) -> list[Reference]:
    return list(find_references(samples.read(graph(*nodes, links=links)), table or load_builtin_table()))


def short(*nodes: Json, links: list[object] | None = None) -> list[Short]:
    return [(one.input, one.value, one.folder, one.active) for one in references(*nodes, links=links)]


def api(class_type: str, **inputs: object) -> list[Reference]:
    raw = {"1": {"class_type": class_type, "inputs": inputs}}
    return list(find_references(samples.read(raw), load_builtin_table()))


def test_a_loader_of_the_table_names_a_file_of_its_folder() -> None:
    assert references(node(1, "CLIPVisionLoader", ["sub\\vision.safetensors"])) == [
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


def test_a_muted_loader_names_a_file_that_is_not_required() -> None:
    assert short(node(1, "VAELoader", ["a.pt"], mode=2)) == [("vae_name", "a.pt", "vae", False)]


def test_a_linked_loader_names_nothing_even_where_the_file_has_no_names() -> None:
    loader = node(2, "UltralyticsDetectorProvider", ["bbox/a.pt"], inputs=[slot("model_name", 1)])
    assert short(node(1, "Source"), loader, links=[[1, 1, 0, 2, 0, "COMBO"]]) == []


@pytest.mark.parametrize("value", [5, 1.5, True, False, ["a"], {"a": 1}, "two\nlines", "", None, "None"])
def test_a_value_that_is_no_file_name_in_a_core_loader_is_still_named(value: object) -> None:
    found = references(node(1, "CheckpointLoaderSimple", [value]))
    assert [(one.input, one.kind) for one in found] == [("ckpt_name", "loader")]


def test_values_of_other_types_are_named_as_text() -> None:
    values: list[object] = [None, True, False, 4096, ["a"], {}]
    found = [references(node(1, "CheckpointLoaderSimple", [value]))[0].value for value in values]
    assert found == ["null", "true", "false", "4096", "a list of 1", "a mapping of 0"]


@pytest.mark.parametrize("value", ["None", "", "Baked VAE", None])
def test_what_a_custom_loader_offers_beside_files_is_no_reference(value: object) -> None:
    assert short(node(1, "Efficient Loader", ["a.ckpt", value])) == [("ckpt_name", "a.ckpt", "checkpoints", True)]


def test_the_virtual_vaes_need_an_encoder_and_a_decoder() -> None:
    found = references(node(1, "VAELoader", ["taesdxl"]))
    assert [(one.value, one.folder, one.tries[0]) for one in found] == [
        ("taesdxl", "vae_approx", "taesdxl_encoder.safetensors"),
        ("taesdxl", "vae_approx", "taesdxl_decoder.safetensors"),
    ]
    assert {len(one.tries) for one in found} == {len(MODEL_EXTENSIONS)}


def test_the_vae_of_pixel_space_needs_no_file() -> None:
    assert references(node(1, "VAELoader", ["pixel_space"])) == []


def test_tiny_video_vaes_stand_in_the_folder_of_approximations() -> None:
    assert short(node(1, "VAELoader", ["taehv.safetensors"])) == [("vae_name", "taehv.safetensors", "vae_approx", True)]


@pytest.mark.parametrize("part", ["bbox", "segm"])
def test_detector_names_carry_their_folder(part: str) -> None:
    found = references(node(1, "UltralyticsDetectorProvider", [f"{part}/face.pt"]))
    assert [(one.value, one.folder, one.tries) for one in found] == [
        (f"{part}/face.pt", f"ultralytics_{part}", ("face.pt",))
    ]


def test_a_loader_that_lists_several_folders_says_so() -> None:
    (found,) = references(node(1, "CLIPLoaderGGUF", ["t5.gguf", "flux"]))
    assert (found.folder, found.also_folders) == ("text_encoders", ("clip_gguf",))


def test_an_input_known_by_place_gets_its_name_from_the_file() -> None:
    named = {"switch": "On", "which": "a.safetensors", "m": 1, "c": 1}
    one = node(1, "CR Load LoRA", list(named.values()), widgets_values_named=named)
    assert short(one) == [("which", "a.safetensors", "loras", True)]
    assert short(node(1, "TripoSRModelLoader_Zho", ["a.ckpt", 8192])) == [("#0", "a.ckpt", "triposr", True)]


def test_every_place_of_a_stack_is_read() -> None:
    stack = node(1, "CR LoRA Stack", ["On", "a.pt", 1, 1, "Off", "None", 1, 1, "On", "c.pt", 1, 1])
    assert short(stack) == [("lora_name_1", "a.pt", "loras", True), ("lora_name_3", "c.pt", "loras", True)]


def test_an_input_known_by_place_and_linked_by_name_names_nothing() -> None:
    inputs = [slot("switch"), slot("which", 5)]
    one = node(2, "CR Load LoRA", ["On", "a.safetensors"], inputs=inputs)
    assert short(node(1, "Source"), one, links=[[5, 1, 0, 2, 1, "*"]]) == []


def test_a_place_that_carries_another_name_in_the_file_is_not_the_known_input() -> None:
    one = node(1, "X", ["a.bin", "b"], widgets_values_named={"other": "a", "more": "b"})
    table = LoaderTable([LoaderInput("X", "known", "vae", 0, "a test", "medium")])
    assert [(found.input, found.kind) for found in references(one, table=table)] == [("other", "heuristic")]


def test_numbered_inputs_are_matched_whatever_their_number() -> None:
    found = api(
        "LoadLoraModel", **{"loras.0.lora_name": "a.pt", "loras.12.lora_name": "b.pt", "loras.x.lora_name": "c"}
    )
    assert [(one.input, one.value) for one in found] == [("loras.0.lora_name", "a.pt"), ("loras.12.lora_name", "b.pt")]


def test_an_embedding_in_a_text_is_tried_with_each_extension() -> None:
    text = "cat, (embedding:easyneg:1.2), embedding:sub/bad.pt. embedding:easyneg [embedding:x]"
    found = references(node(1, "CLIPTextEncode", [text]))
    assert [(one.input, one.value, one.folder, one.kind) for one in found] == [
        ("text", "easyneg", "embeddings", "embedding"),
        ("text", "sub/bad.pt", "embeddings", "embedding"),
        ("text", "x", "embeddings", "embedding"),
    ]
    assert found[0].tries == ("easyneg", "easyneg.safetensors", "easyneg.pt", "easyneg.bin")


@pytest.mark.parametrize(
    "text", ["embedding:", "embedding: x", "a word embedding", "<lora>", "<lora::1>", "a < b", "<last>"]
)
def test_text_that_only_resembles_a_reference_is_none(text: str) -> None:
    assert references(node(1, "CLIPTextEncode", [text])) == []


def test_lora_tags_are_tried_with_each_extension() -> None:
    found = references(node(1, "ImpactWildcardEncode", ["<lora:add detail:0.5:0.5> <lyco:b.pt> <lora:add detail:1>"]))
    assert [(one.value, one.folder, one.kind, one.confidence) for one in found] == [
        ("add detail", "loras", "lora_tag", "medium"),
        ("b.pt", "loras", "lora_tag", "medium"),
    ]
    assert found[0].tries[0] == "add detail.safetensors"
    assert found[1].tries == ("b.pt",)


def test_a_lora_tag_in_a_node_that_ignores_it_is_unsure() -> None:
    (found,) = references(node(1, "CLIPTextEncode", ["<lora:a:1>"]))
    assert found.confidence == "low"


def test_the_power_lora_loader_names_what_is_switched_on_and_off() -> None:
    found = find_references(samples.read(samples.power_loras()), load_builtin_table())
    assert [(one.value, one.active, one.kind, one.folder, one.confidence) for one in found] == [
        ("on.safetensors", True, "lora_list", "loras", "high"),
        ("off.safetensors", False, "lora_list", "loras", "high"),
    ]
    (prompted,) = api("Power Lora Loader (rgthree)", lora_1={"on": True, "lora": "a.pt", "strength": 1})
    assert (prompted.input, prompted.value) == ("lora_1", "a.pt")


def test_the_lora_manager_list_decides_over_the_tags_of_its_text() -> None:
    loras = {"__value__": [samples.lora("a"), samples.lora("b", on=False)]}
    found = api("Lora Loader (LoraManager)", text="<lora:a:1> <lora:b:1> <lora:c:1>", loras=loras)
    assert [(one.value, one.active, one.kind) for one in found] == [
        ("a", True, "lora_list"),
        ("b", False, "lora_list"),
        ("c", True, "lora_tag"),
    ]
    assert found[0].tries[0] == "a.safetensors"


def test_a_lora_list_of_an_unknown_class_is_less_sure() -> None:
    (found,) = api("Some Stack", entries=[samples.lora("a")])
    assert found.confidence == "medium"


def test_a_file_extension_alone_gives_no_folder() -> None:
    (found,) = references(node(1, "Unknown", ["model.GGUF", "flux", 5]))
    assert (found.input, found.value, found.folder, found.kind, found.confidence) == (
        "#0",
        "model.GGUF",
        None,
        "heuristic",
        "low",
    )


@pytest.mark.parametrize("value", ["sub/a.gguf", "sub\\a.gguf", "a.gguf"])
def test_the_authors_declaration_gives_the_folder(value: str) -> None:
    models = [{"name": "a.gguf", "directory": "diffusion_models"}]
    (found,) = references(node(1, "Unknown", [value], properties={"models": models}))
    assert (found.folder, found.confidence, found.evidence) == ("diffusion_models", "medium", "declared by the author")


@pytest.mark.parametrize(
    "value",
    [
        "https://x.org/a.safetensors",
        "a prompt\nabout a.safetensors",
        "x" * 500 + ".pt",
        "a.png",
        "safetensors",
        5,
        None,
    ],
)
def test_addresses_prompts_and_other_files_are_not_guessed_to_be_models(value: object) -> None:
    assert references(node(1, "Unknown", [value])) == []


def test_names_inside_lists_and_objects_are_found_to_a_bounded_depth() -> None:
    deep: object = "deep.pt"
    for _ in range(400):
        deep = [deep]
    found = references(node(1, "Unknown", {"a": {"b": ["x.pt", "x.pt", 5]}, "deep": deep}))
    assert [(one.input, one.value) for one in found] == [("a", "x.pt")]


def test_a_text_that_feeds_other_nodes_is_not_a_guess_of_its_own() -> None:
    found = references(
        node(1, "PrimitiveString", ["a.gguf"]),
        node(2, "Unknown", ["b.gguf"], inputs=[slot("which", 1)]),
        links=[[1, 1, 0, 2, 0, "STRING"]],
    )
    assert [(one.node_path, one.input, one.value) for one in found] == [("2", "which", "a.gguf")]


def test_what_a_node_fetches_by_itself_is_no_reference() -> None:
    assert references(node(1, "RIFE VFI", ["rife47.pth", 10])) == []
    assert api("RIFE VFI", ckpt_name="rife47.pth") == []
    values = ["enable", "enable", "enable", 512, "yolox_l.onnx", "dw-ll.onnx"]
    assert references(node(1, "DWPreprocessor", values)) == []
    assert api("DWPreprocessor", bbox_detector="yolox_l.onnx") == []


def test_presets_and_pickers_are_no_references() -> None:
    assert references(node(1, "IPAdapterUnifiedLoader", ["a.bin"])) == []
    assert api("ToDetailerPipe", **{"Select to add LoRA": "a.safetensors", "wildcard": "b"}) == []


def test_a_node_with_two_lists_of_different_length_names_each_file_once() -> None:
    one = node(1, "Unknown", ["a.pt", "b", "c"], widgets_values_named={"which": "a.pt", "more": "b"})
    assert short(one) == [("which", "a.pt", None, True)]


def test_the_one_folder_of_a_class_is_taken_for_a_value_whose_name_is_unknown() -> None:
    (found,) = references(node(1, "MelBandRoFormerModelLoader", ["a.safetensors"]))
    assert (found.folder, found.kind, found.confidence) == ("diffusion_models", "heuristic", "medium")


def test_a_node_that_shows_values_of_an_earlier_run_names_nothing() -> None:
    assert references(node(1, "ShowText|pysssss", ["a.safetensors"]), node(2, "PreviewAny", ["embedding:x"])) == []


@pytest.mark.parametrize("text", ["<lora:[^>]+:1>", "<lora:\\1:1>", "<lora:*:1>"])
def test_a_pattern_for_lora_tags_is_no_lora(text: str) -> None:
    assert references(node(1, "RegexReplace", [text])) == []


def test_a_choice_of_a_repository_and_a_file_is_fetched_by_the_node() -> None:
    assert references(node(1, "TIPO", ["KBlueLeaf/TIPO-200M-ft2 | TIPO-200M-ft2-F16.gguf"])) == []


@pytest.mark.parametrize("class_type", ["DownloadAndLoadSAM2Model", "DownloadAndLoadAnything"])
def test_nodes_that_download_and_load_need_no_file(class_type: str) -> None:
    assert references(node(1, class_type, ["a.safetensors", "video"])) == []
    assert api(class_type, model="a.safetensors") == []


def test_a_place_that_was_read_by_its_name_is_not_read_again() -> None:
    named = {"switch": "On", "lora_name": "a.safetensors", "model": 1}
    one = node(1, "CR Load LoRA", ["On", "a.safetensors", 1, 1, 5], widgets_values_named=named)
    assert short(one) == [("lora_name", "a.safetensors", "loras", True)]


def test_a_linked_input_known_to_a_later_table_only_names_nothing() -> None:
    table = LoaderTable([LoaderInput("X", "which", "vae", 0, "a test", "medium")])
    one = node(2, "X", ["stale", 1], inputs=[slot("which", 1)])
    assert references(node(1, "Source"), one, links=[[1, 1, 0, 2, 0, "*"]], table=table) == []


def test_an_unnamed_value_beside_a_fed_one_is_still_looked_at() -> None:
    one = node(2, "Unknown", ["a.gguf", "b.gguf", 5], inputs=[slot("which", 1)])
    found = references(node(1, "PrimitiveString", ["c.gguf"]), one, links=[[1, 1, 0, 2, 0, "STRING"]])
    assert [one.value for one in found] == ["c.gguf", "a.gguf", "b.gguf"]


def unnamed(raw: Json, table: LoaderTable | None = None) -> list[tuple[str, str | None]]:
    workflow, table = samples.read(raw), table or load_builtin_table()
    return [(one.code, one.node_path) for one in find_unnamed_models(workflow, table, find_references(workflow, table))]


def prompt(**inputs: object) -> Json:
    return {"1": {"class_type": "CheckpointLoaderSimple", "inputs": inputs}, "2": {"class_type": "X", "inputs": {}}}


def test_a_required_name_that_a_prompt_leaves_out_is_told() -> None:
    assert unnamed(prompt()) == [("model-name-absent", "1")]
    assert unnamed({"1": {"class_type": "CheckpointLoaderSimple"}}) == [("model-name-absent", "1")]
    assert unnamed(prompt(ckpt_name="a.ckpt")) == []


def test_optional_or_editor_filled_inputs_may_be_omitted() -> None:
    assert unnamed(graph(node(1, "CheckpointLoaderSimple"))) == []
    live = [LoaderInput("X", "which", "vae", 0, "a running server", "high")]
    assert unnamed(prompt(ckpt_name="a.ckpt"), load_builtin_table().merge(live, override=True)) == []


def test_computed_model_name_is_reported_unless_the_folder_has_a_named_model() -> None:
    computed = prompt(ckpt_name=["2", 0])
    assert unnamed(computed) == [("model-name-computed", "1")]
    selector = LoaderInput("X", "which", "checkpoints", 0, "a pack", "medium")
    computed["2"]["inputs"] = {"which": "a.ckpt"}
    assert unnamed(computed, load_builtin_table().merge([selector])) == []


def test_a_computed_name_of_the_editors_file_is_told_of_active_nodes_only() -> None:
    loader = node(2, "CheckpointLoaderSimple", ["stale.ckpt"], inputs=[slot("ckpt_name", 1)])
    links: list[object] = [[1, 1, 0, 2, 0, "COMBO"]]
    assert unnamed(graph(node(1, "Source"), loader, links=links)) == [("model-name-computed", "2")]
    assert unnamed(graph(node(1, "Source"), {**loader, "mode": 2}, links=links)) == []
