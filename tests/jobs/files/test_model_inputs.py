from __future__ import annotations

from typing import Any

from comfywatchman.comfyui.loaders.table import load_builtin_table
from comfywatchman.jobs.files.model_inputs import find_readiness_key
from comfywatchman.jobs.files.workflows import JobInputTarget, JobWorkflow

GRAPH: dict[str, dict[str, Any]] = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.safetensors"}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a fox", "clip": ["1", 1]}},
    "3": {"class_type": "OurLoader", "inputs": {"file": "b.gguf", "mode": "fast"}},
    "4": {"class_type": "LoadImage", "inputs": {"image": "x.png"}},
}
ENTRY = JobWorkflow(
    template_path="",
    required_inputs=[],
    description="",
    inputs={"upload": JobInputTarget(node="4", field="image", kind="file")},
    defaults={},
)


def find(*runs: dict[str, Any]) -> str:
    return find_readiness_key("flux", runs, ENTRY, GRAPH, load_builtin_table())


def test_job_without_models_has_the_key_of_its_workflow() -> None:
    assert find({}) == find({"text": "a cat", "mode": "slow", "upload": "cat.bin", "unknown": "a.ckpt"}) == "flux"


def test_models_of_known_loaders_and_of_any_other_class_count() -> None:
    assert find({"ckpt_name": "folder"}) == "flux with 1.ckpt_name=folder"
    assert find({"3_file": "C.GGUF", "text": "a"}) == "flux with 3.file=C.GGUF"


def test_models_of_all_runs_count_in_any_order() -> None:
    first, second = {"ckpt_name": "b"}, {"ckpt_name": "a", "file": "c.gguf"}
    assert find(first, second) == find(second, first) == "flux with 1.ckpt_name=a, 1.ckpt_name=b, 3.file=c.gguf"


def test_long_keys_are_cut_but_differ() -> None:
    keys = {find({"ckpt_name": "x" * 500 + ending}) for ending in "ab"}
    assert len(keys) == 2
    assert all(len(key) < 420 for key in keys)
