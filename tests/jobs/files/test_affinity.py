from __future__ import annotations

from typing import Any

from comfywatchman.comfyui.loaders.table import load_builtin_table
from comfywatchman.jobs.files.affinity import find_affinity_key
from tests.jobs.files.job_folder import GRAPH


def find(graph: dict[str, Any]) -> str:
    return find_affinity_key(graph, load_builtin_table())


def test_key_is_the_checkpoint() -> None:
    assert find(GRAPH) == "checkpoints/sd15.safetensors"


def test_key_of_several_models_does_not_depend_on_their_order() -> None:
    first = {"class_type": "UNETLoader", "inputs": {"unet_name": "b.safetensors", "weight_dtype": "default"}}
    second = {"class_type": "UNETLoader", "inputs": {"unet_name": "a.safetensors", "weight_dtype": "default"}}
    key = "diffusion_models/a.safetensors\ndiffusion_models/b.safetensors"
    assert find({"1": first, "2": second}) == find({"1": second, "2": first, "3": second}) == key


def test_small_models_and_links_do_not_count() -> None:
    vae = {"class_type": "VAELoader", "inputs": {"vae_name": "x.safetensors"}}
    linked = {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": ["1", 0]}}
    assert find({"1": vae, "2": linked}) == ""
