from __future__ import annotations

import pytest

from comfywatchman.comfyui.loaders.table import load_builtin_table
from comfywatchman.comfyui.references.find import find_references
from tests.comfyui.references.finding import find_in, read_api
from tests.comfyui.workflow import samples
from tests.comfyui.workflow.samples import node


def test_embedding_is_tried_with_each_extension() -> None:
    text = "cat, (embedding:easyneg:1.2), embedding:sub/bad.pt. embedding:easyneg [embedding:x]"
    references = find_in(node(1, "CLIPTextEncode", [text]))
    assert [(reference.input, reference.value, reference.folder, reference.kind) for reference in references] == [
        ("text", "easyneg", "embeddings", "embedding"),
        ("text", "sub/bad.pt", "embeddings", "embedding"),
        ("text", "x", "embeddings", "embedding"),
    ]
    assert references[0].tries == ("easyneg", "easyneg.safetensors", "easyneg.pt", "easyneg.bin")


@pytest.mark.parametrize(
    "text", ["embedding:", "embedding: x", "a word embedding", "<lora>", "<lora::1>", "a < b", "<last>"]
)
def test_text_that_resembles_a_reference_is_none(text: str) -> None:
    assert find_in(node(1, "CLIPTextEncode", [text])) == []


def test_lora_tags_are_tried_with_each_extension() -> None:
    references = find_in(node(1, "ImpactWildcardEncode", ["<lora:add detail:0.5:0.5> <lyco:b.pt> <lora:add detail:1>"]))
    assert [(reference.value, reference.folder, reference.kind, reference.confidence) for reference in references] == [
        ("add detail", "loras", "lora_tag", "medium"),
        ("b.pt", "loras", "lora_tag", "medium"),
    ]
    assert references[0].tries[0] == "add detail.safetensors"
    assert references[1].tries == ("b.pt",)


def test_lora_tag_in_plain_text_has_low_confidence() -> None:
    (reference,) = find_in(node(1, "PrimitiveString", ["<lora:a:1>"]))
    assert reference.confidence == "low"


def test_lora_tag_in_an_encoder_of_comfyui_is_text() -> None:
    assert find_in(node(1, "CLIPTextEncode", ["<lora:a:1> embedding:b"]))[0].value == "b"
    assert find_in(node(1, "CLIPTextEncodeSDXL", [1, 1, 0, 0, 1, 1, "<lora:a:1>", "<lora:a:1>"])) == []
    (reference,) = find_in(node(1, "CLIPTextEncodeOfSomePack", ["<lora:a:1>"]))
    assert reference.confidence == "low"


def test_power_lora_loader_entries_may_be_switched_off() -> None:
    references = find_references(samples.read(samples.power_loras()), load_builtin_table())
    assert [
        (reference.value, reference.active, reference.kind, reference.folder, reference.confidence)
        for reference in references
    ] == [
        ("on.safetensors", True, "lora_list", "loras", "high"),
        ("off.safetensors", False, "lora_list", "loras", "high"),
    ]
    (prompted,) = read_api("Power Lora Loader (rgthree)", lora_1={"on": True, "lora": "a.pt", "strength": 1})
    assert (prompted.input, prompted.value) == ("lora_1", "a.pt")


@pytest.mark.parametrize(
    ("class_type", "inputs", "tries", "resolution"),
    [
        ("Lora Loader (LoraManager)", {"loras": [samples.lora("a\\b")]}, "a/b.safetensors", "bare_name"),
        ("Power Lora Loader (rgthree)", {"lora_1": {"on": True, "lora": "a", "strength": 1}}, "a", "similar"),
        ("Power Prompt (rgthree)", {"prompt": "<lora:a:1>"}, "a", "similar"),
        ("ImpactWildcardEncode", {"wildcard_text": "<lora:a:1>"}, "a.safetensors", "ending"),
        ("SomeLoraTags", {"text": "<lora:a:1>"}, "a.safetensors", "listed"),
        ("CLIPTextEncode", {"text": "embedding:a"}, "a", "any_folder"),
    ],
)
def test_class_decides_how_a_name_finds_its_file(
    class_type: str, inputs: dict[str, object], tries: str, resolution: str
) -> None:
    (reference,) = read_api(class_type, **inputs)
    assert (reference.tries[0], reference.resolution) == (tries, resolution)


def test_lora_manager_list_wins_over_its_text() -> None:
    loras = {"__value__": [samples.lora("a"), samples.lora("b", on=False)]}
    references = read_api("Lora Loader (LoraManager)", text="<lora:a:1> <lora:b:1> <lora:c:1>", loras=loras)
    assert [(reference.value, reference.active, reference.kind) for reference in references] == [
        ("a", True, "lora_list"),
        ("b", False, "lora_list"),
        ("c", True, "lora_tag"),
    ]
    assert references[0].tries[0] == "a.safetensors"


def test_lora_list_of_an_unknown_class_has_medium_confidence() -> None:
    (reference,) = read_api("Some Stack", entries=[samples.lora("a")])
    assert reference.confidence == "medium"


@pytest.mark.parametrize("text", ["<lora:[^>]+:1>", "<lora:\\1:1>", "<lora:*:1>"])
def test_pattern_in_a_lora_tag_is_not_a_lora(text: str) -> None:
    assert find_in(node(1, "RegexReplace", [text])) == []
