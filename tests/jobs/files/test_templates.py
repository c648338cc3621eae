from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.jobs.files.templates import JobTemplate, load_template
from tests.jobs.files.job_folder import GRAPH

RECORDED: Final[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "comfyui/workflow/data/editor_prompts.json").read_bytes()
)


def load(tmp_path: Path, content: object) -> JobTemplate:
    path = tmp_path / "x.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return load_template(path)


def test_prompt_of_the_server_is_read_as_it_is(tmp_path: Path) -> None:
    template = load(tmp_path, GRAPH)
    assert template.graph == GRAPH
    assert not template.was_converted
    assert len(template.sha256) == 64


def test_request_with_a_prompt_is_read(tmp_path: Path) -> None:
    assert load(tmp_path, {"prompt": GRAPH, "client_id": "x"}).graph == GRAPH


def test_titles_are_left_out(tmp_path: Path) -> None:
    titled = {"3": {**GRAPH["3"], "_meta": {"title": "Sampler"}}, "4": GRAPH["4"]}
    assert load(tmp_path, titled).graph == {"3": GRAPH["3"], "4": GRAPH["4"]}


def test_node_without_inputs_gets_none(tmp_path: Path) -> None:
    assert load(tmp_path, {"1": {"class_type": "Ping"}}).graph == {"1": {"class_type": "Ping", "inputs": {}}}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "is not valid JSON|cannot be used"),
        ([1], "JSON list"),
        ({}, "neither a graph"),
        ({"3": GRAPH["3"]}, "linked to a node that is not in the prompt"),
        ({"3": {"class_type": "A", "inputs": {}}, "4": 5}, "is not a node"),
    ],
)
def test_other_files_are_refused_with_the_reason(tmp_path: Path, content: object, reason: str) -> None:
    with pytest.raises(Failure, match=reason) as caught:
        load(tmp_path, content)
    assert caught.value.code == "jobs-template-invalid"
    assert caught.value.hint


def test_absent_template_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="No such file") as caught:
        load_template(tmp_path / "none.json")
    assert "template_path" in (caught.value.hint or "")


EDITOR: Final[dict[str, Any]] = {
    "version": 0.4,
    "nodes": [
        {
            "id": 1,
            "type": "EmptyImage",
            "inputs": [
                {"name": name, "type": "INT", "widget": {"name": name}, "link": None}
                for name in ("width", "height", "batch_size", "color")
            ],
            "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [7]}],
            "widgets_values": [64, 32, 1, 255],
        },
        {
            "id": 2,
            "type": "SaveImage",
            "inputs": [
                {"name": "images", "type": "IMAGE", "link": 7},
                {"name": "filename_prefix", "type": "STRING", "widget": {"name": "filename_prefix"}, "link": None},
            ],
            "outputs": [],
            "widgets_values": ["fox"],
        },
    ],
    "links": [[7, 1, 0, 2, 0, "IMAGE"]],
}


def change(path: str, value: object) -> Any:
    """Return the editor's workflow with one value changed; `nodes.0.mode` for example."""
    changed = json.loads(json.dumps(EDITOR))
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place: Any = changed
    for part in parents:
        place = place[part]
    place[last] = value
    return changed


def test_workflow_of_the_editor_is_converted(tmp_path: Path) -> None:
    template = load(tmp_path, EDITOR)
    assert template.was_converted
    assert template.graph == {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 32, "batch_size": 1, "color": 255}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "fox"}},
    }


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("nodes.0.widgets_values", [64, 32, 1, 255, 9], "does not name all values of node 1"),
        ("nodes.0.mode", 2, "no certain source|is not certain"),
        ("extra", {"groupNodes": {"Loaders": {"nodes": []}}}, "has group nodes"),
    ],
)
def test_uncertain_workflow_of_the_editor_is_refused(tmp_path: Path, path: str, value: object, reason: str) -> None:
    with pytest.raises(Failure, match=reason) as caught:
        load(tmp_path, change(path, value))
    assert "Export (API)" in (caught.value.hint or "")


def test_workflow_without_active_nodes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="no active nodes"):
        load(tmp_path, {"version": 0.4, "nodes": [], "links": []})


def test_control_of_the_seed_is_not_sent(tmp_path: Path) -> None:
    workflow = {
        "version": 0.4,
        "nodes": [
            {
                "id": 1,
                "type": "RandomNoise",
                "inputs": [{"name": "noise_seed", "type": "INT", "widget": {"name": "noise_seed"}, "link": None}],
                "outputs": [],
                "widgets_values": [42, "randomize"],
            }
        ],
        "links": [],
    }
    assert load(tmp_path, workflow).graph["1"]["inputs"] == {"noise_seed": 42}


DEFAULTS: Final[tuple[object, ...]] = (None, "", 0, False, [])
"""Values of classes that the recorded files do not hold; the server refuses a prompt without a required one."""


def is_same(converted: dict[str, Any], sent: dict[str, Any]) -> bool:
    """Return whether two prompts are the same, beside titles and values that the editor takes from a class."""
    if converted.keys() != sent.keys():
        return False
    for node_id, node in sent.items():
        inputs = converted[node_id]["inputs"]
        if converted[node_id]["class_type"] != node["class_type"]:
            return False
        # The server ignores an input that its class does not have.
        if any(node["inputs"].get(name, value) != value for name, value in inputs.items()):
            return False
        missing = node["inputs"].keys() - inputs.keys()
        if any(node["inputs"][name] not in DEFAULTS for name in missing):
            return False
    return True


def convert_recorded(tmp_path: Path) -> dict[str, str]:
    results = {}
    for name, workflow in RECORDED["workflows"].items():
        sent = RECORDED["prompts"][name]
        try:
            graph = dict(load(tmp_path, workflow).graph)
        except Failure:
            results[name] = "refused"
        else:
            results[name] = "same" if sent is not None and is_same(graph, sent) else "other"
    return results


@pytest.mark.slow
def test_converted_prompts_are_those_of_the_editor(tmp_path: Path) -> None:
    results = convert_recorded(tmp_path)
    assert [name for name, result in results.items() if result == "other"] == []
    assert list(results.values()).count("same") > 20
