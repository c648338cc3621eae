from __future__ import annotations

import dataclasses

import pytest

from comfywatchman.comfyui.loaders.table import load_builtin_table
from comfywatchman.comfyui.references.find import find_references
from comfywatchman.comfyui.references.reference import MODEL_EXTENSIONS, Reference
from comfywatchman.sources import file_names
from tests.comfyui.references.finding import find_in
from tests.comfyui.workflow.samples import node, read


def find_one(class_type: str, value: str) -> Reference:
    (reference,) = find_in(node(1, class_type, [value]))
    return reference


def test_equal_references_of_two_readings_count_once() -> None:
    first, again = (find_one("VAELoader", "a.pt") for _ in range(2))
    muted = dataclasses.replace(first, active=False)
    assert {first, again, muted} == {first, muted}


def test_value_keeps_the_spelling_of_the_workflow() -> None:
    for value in (" a.pt", "Sub\\A.PT", "sub//a.pt", "é.pt"):
        reference = find_one("VAELoader", value)
        assert (reference.value, reference.tries[0]) == (value, value)


@pytest.mark.parametrize("extension", MODEL_EXTENSIONS)
def test_extension_of_comfyui_may_be_downloaded(extension: str) -> None:
    assert extension in file_names.MODEL_EXTENSIONS
    assert file_names.extension(f"Model.v1{extension.upper()}") == extension


@pytest.mark.parametrize("extension", [*MODEL_EXTENSIONS, ".gguf"])
def test_unknown_class_names_models_of_every_extension(extension: str) -> None:
    reference = find_one("UnknownClass", f"a{extension}")
    assert (reference.kind, reference.confidence) == ("heuristic", "low")
    assert reference.tries == (f"a{extension}",)


def test_node_path_of_a_sent_prompt_leads_through_its_subgraphs() -> None:
    workflow = read({"7:3": {"class_type": "VAELoader", "inputs": {"vae_name": "a.pt"}}})
    (reference,) = find_references(workflow, load_builtin_table())
    assert (reference.node_path, reference.node_type, reference.input) == ("7:3", "VAELoader", "vae_name")
