"""The workflow files of the sample host."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from comfywatchman.comfyui.install.install import Installation
from comfywatchman.readiness.assessment.dry_run import scan_files
from comfywatchman.readiness.sample.host import VERSION, build_sample_host
from comfywatchman.readiness.sample.workflows import build_sample_workflows, build_text_to_image
from tests.hosts import Host

STATUSES = {
    "01 ready.json": "READY",
    "02 a LoRA is missing.json": "MISSING",
    "03 written on Windows.json": "MISSING",
    "04 upper and lower case.json": "MISSING",
    "05 the model lies in another folder.json": "MISSING",
    "06 the model is broken.json": "MISSING",
    "07 an unknown node.json": "UNCERTAIN",
    "08 a node of an installed pack.json": "READY",
    "09 ready, with a muted LoRA.json": "READY",
    "10 as sent to the server.json": "READY",
    "11 inside a picture.png": "READY",
    "12 cut short.json": "INVALID",
}


def test_each_sample_workflow_shows_its_verdict(tmp_path: Path) -> None:
    sample = build_sample_host(tmp_path / "sample", templates=None)
    host = Host(tmp_path / "host")
    result = scan_files(
        [sample.root / "user/default/workflows/sample"],
        installation=Installation(root=sample.root, version=VERSION, base=sample.root),
        settings=host.request().settings,
        layout=host.layout,
    )
    assert {Path(workflow.path).name: workflow.verdict.status for workflow in result.workflows} == STATUSES


def test_png_contains_the_workflow_in_a_text_chunk(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(build_sample_workflows()["11 inside a picture.png"])
    with Image.open(path) as picture:
        picture.load()
        assert json.loads(picture.info["workflow"]) == json.loads(json.dumps(build_text_to_image()))


def test_both_ends_of_each_sample_link_agree() -> None:
    graph = build_text_to_image(lora="x.safetensors")
    nodes = {node["id"]: node for node in graph["nodes"]}
    for link, origin, slot, target, place, kind in graph["links"]:
        assert link in nodes[origin]["outputs"][slot]["links"]
        assert nodes[target]["inputs"][place]["link"] == link
        assert nodes[target]["inputs"][place]["type"] == kind
