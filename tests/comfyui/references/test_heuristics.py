from __future__ import annotations

import pytest

from tests.comfyui.references.finding import find_in, read_api
from tests.comfyui.workflow.samples import node


def test_file_extension_alone_gives_no_folder() -> None:
    (reference,) = find_in(node(1, "Unknown", ["model.GGUF", "flux", 5]))
    assert (reference.input, reference.value, reference.folder, reference.kind, reference.confidence) == (
        "#0",
        "model.GGUF",
        None,
        "heuristic",
        "low",
    )


@pytest.mark.parametrize("value", ["sub/a.gguf", "sub\\a.gguf", "a.gguf"])
def test_declared_model_gives_the_folder(value: str) -> None:
    models = [{"name": "a.gguf", "directory": "diffusion_models"}]
    (reference,) = find_in(node(1, "Unknown", [value], properties={"models": models}))
    assert (reference.folder, reference.confidence, reference.evidence) == (
        "diffusion_models",
        "medium",
        "declared by the author",
    )


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
def test_addresses_prompts_and_other_files_are_not_models(value: object) -> None:
    assert find_in(node(1, "Unknown", [value])) == []


def test_names_in_containers_are_found_to_a_limited_depth() -> None:
    deep: object = "deep.pt"
    for _ in range(400):
        deep = [deep]
    references = find_in(node(1, "Unknown", {"a": {"b": ["x.pt", "x.pt", 5]}, "deep": deep}))
    assert [(reference.input, reference.value) for reference in references] == [("a", "x.pt")]


def test_only_folder_of_a_class_is_used_for_an_unnamed_value() -> None:
    (reference,) = find_in(node(1, "MelBandRoFormerModelLoader", ["a.safetensors"]))
    assert (reference.folder, reference.kind, reference.confidence) == ("diffusion_models", "heuristic", "medium")


def test_choice_of_repository_and_file_is_not_a_reference() -> None:
    assert find_in(node(1, "TIPO", ["KBlueLeaf/TIPO-200M-ft2 | TIPO-200M-ft2-F16.gguf"])) == []


@pytest.mark.parametrize("class_type", ["SaveImage", "Image Saver", "Combine"])
def test_prefix_of_saved_files_is_not_a_model(class_type: str) -> None:
    assert read_api(class_type, filename_prefix="out.safetensors") == []


def test_name_in_a_node_that_saves_files_is_not_a_model() -> None:
    assert find_in(node(1, "CheckpointSave", ["out.safetensors"])) == []
