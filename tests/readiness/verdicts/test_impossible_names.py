from __future__ import annotations

from dataclasses import replace

import pytest

from comfywatchman.readiness.states import ModelState
from comfywatchman.readiness.verdicts.impossible_names import explain_impossible_name, explain_unlisted_suffix
from comfywatchman.readiness.verdicts.models import judge_reference
from tests.readiness.verdicts.test_models import Inventory, Model, reference


@pytest.mark.parametrize("name", ["a.safetensors", "A.PT", "a.gguf", "a.onnx", "Put a photo of a cat here.pt"])
def test_name_with_the_suffix_of_a_model_is_possible(name: str) -> None:
    assert explain_impossible_name(reference(name)) is None


@pytest.mark.parametrize("folder", ["BiRefNet", "diffusers", "classifiers", "folder of a pack"])
def test_folder_of_an_unknown_or_any_suffix_may_hold_anything(folder: str) -> None:
    assert explain_impossible_name(reference("Florence-2-large", folder=folder)) is None


def test_names_that_the_server_tries_count() -> None:
    assert explain_impossible_name(reference("easy", folder="embeddings", tries=("easy", "easy.pt"))) is None


def test_gguf_file_that_lies_where_it_belongs_is_not_to_be_moved() -> None:
    wanted = replace(reference("flux.gguf", folder="vae"), node_type="VAELoader")
    finding = judge_reference(wanted, Inventory(Model("unet_gguf", "flux.gguf")))
    assert (finding.state, finding.is_sure) == (ModelState.UNRESOLVABLE, True)
    assert finding.fix == "unet_gguf/flux.gguf is here, but VAELoader lists no .gguf files: use a node that does."


def test_suffix_of_another_folder_of_the_node_is_listed() -> None:
    both = replace(reference("flux.gguf", folder="diffusion_models"), also_folders=("unet_gguf",))
    assert explain_unlisted_suffix(both) is None
    assert explain_unlisted_suffix(replace(both, folder=None)) is None
