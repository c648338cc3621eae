from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.jobs.files.payload import (
    PROMPT_INPUTS,
    build_payload,
    fill_template,
    find_first_input,
    find_target,
    list_input_names,
)
from comfywatchman.jobs.files.problems import JobFileError
from comfywatchman.jobs.files.workflows import JobInputTarget, JobWorkflow
from tests.jobs.files.job_folder import GRAPH


def entry(**changes: Any) -> JobWorkflow:
    built = JobWorkflow(
        template_path="/none.json",
        required_inputs=["prompt"],
        description="",
        inputs={
            "prompt": JobInputTarget(node="6", field="text", kind="value"),
            "picture": JobInputTarget(node="9", field="picture", kind="file"),
            "lost": JobInputTarget(node="99", field="text", kind="value"),
        },
        defaults={},
    )
    return {**built, **changes}  # type: ignore[typeddict-item]


@pytest.fixture
def workflows(tmp_path: Path) -> dict[str, JobWorkflow]:
    path = tmp_path / "portrait.json"
    path.write_text(json.dumps(GRAPH), "utf-8")
    return {"portrait": entry(template_path=str(path), defaults={"steps": 9})}


def build(workflows: dict[str, JobWorkflow], **inputs: Any) -> dict[str, Any]:
    return build_payload("portrait", {"prompt": "a red fox", **inputs}, workflows)


def test_inputs_take_their_places(workflows: dict[str, JobWorkflow]) -> None:
    graph = build(workflows, width=768, **{"3_seed": 7, "7_text": "dark"})
    expected = copy.deepcopy(GRAPH)
    expected["6"]["inputs"]["text"] = "a red fox"
    expected["5"]["inputs"]["width"] = 768
    expected["3"]["inputs"]["seed"] = 7
    expected["7"]["inputs"]["text"] = "dark"
    expected["3"]["inputs"]["steps"] = 9
    assert graph == expected


def test_default_of_the_workflow_gives_way(workflows: dict[str, JobWorkflow]) -> None:
    assert build(workflows, steps=30)["3"]["inputs"]["steps"] == 30


def test_payload_shares_nothing_with_the_inputs(workflows: dict[str, JobWorkflow]) -> None:
    value = {"a": [1]}
    graph = build(workflows, **{"9_filename_prefix": "x"}, picture="up.png")
    assert graph["9"]["inputs"]["picture"] == "up.png"
    filled = fill_template(GRAPH, {"prompt": value}, entry())
    filled["6"]["inputs"]["text"]["a"].append(2)
    filled["3"]["inputs"]["model"].append(9)
    assert value == {"a": [1]}
    assert GRAPH["3"]["inputs"]["model"] == ["4", 0]


def test_list_does_not_become_a_link() -> None:
    filled = fill_template(GRAPH, {"prompt": ["4", 0]}, entry())
    assert filled["6"]["inputs"]["text"] == {"__value__": ["4", 0]}


def test_unknown_workflow_is_refused(workflows: dict[str, JobWorkflow]) -> None:
    with pytest.raises(ValueError, match=r"no workflow 'portrat'\. Did you mean 'portrait'"):
        build_payload("portrat", {}, workflows)


def test_missing_required_input_is_refused(workflows: dict[str, JobWorkflow]) -> None:
    with pytest.raises(ValueError, match=r"inputs\.prompt: The workflow needs this input"):
        build_payload("portrait", {}, workflows)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("promt", "x", "Did you mean 'prompt'"),
        ("text", "x", "Nodes 6, 7 have an input of this name"),
        ("model", "x", "no input of this name"),
        ("lost", "x", "node 99, which the template does not have"),
        ("3_sed", 5, "Node 3 has no input 'sed'. Did you mean 'seed'"),
        ("88_text", "x", "no input of this name"),
        ("width", "wide", "must be a number, not text"),
        ("width", True, "must be a number, not true"),
        ("width", None, "must be a number, not empty"),
        ("width", [1], "must be a number, not a list"),
        ("prompt", 5, "must be text, not a number"),
        ("prompt", {"a": 1}, "must be text, not a list of fields"),
        ("flag", "yes", "must be true or false, not text"),
        ("flag", 1, "must be true or false, not a number"),
        ("picture", 5, "Name a file here"),
        ("picture", "", "Name a file here"),
        ("6_clip", None, "has no value"),
    ],
)
def test_unfitting_input_is_refused(workflows: dict[str, JobWorkflow], name: str, value: object, reason: str) -> None:
    with pytest.raises(JobFileError, match=reason):
        build(workflows, **{name: value})


def test_number_with_a_point_fits_a_whole_number(workflows: dict[str, JobWorkflow]) -> None:
    assert build(workflows, cfg=7)["3"]["inputs"]["cfg"] == 7
    assert build(workflows, flag=True)["9"]["inputs"]["flag"] is True


def test_link_of_the_template_can_be_replaced_by_its_node(workflows: dict[str, JobWorkflow]) -> None:
    assert build(workflows, **{"6_clip": "x"})["6"]["inputs"]["clip"] == "x"


def test_absent_template_is_a_failure() -> None:
    with pytest.raises(Failure) as caught:
        build_payload("portrait", {}, {"portrait": entry()})
    assert caught.value.code == "jobs-template-invalid"


def test_names_of_inputs_are_listed() -> None:
    names = list_input_names(entry(), GRAPH)
    assert {"prompt", "picture", "seed", "width", "filename_prefix"} <= set(names)
    assert "model" not in names


def test_first_input_that_exists_is_found() -> None:
    assert find_first_input(PROMPT_INPUTS, entry(), GRAPH) == "prompt"
    assert find_first_input(("noise_seed", "seed"), entry(), GRAPH) == "seed"
    assert find_first_input(("none",), entry(), GRAPH) is None


def test_filling_an_unknown_input_is_refused() -> None:
    with pytest.raises(JobFileError):
        fill_template(GRAPH, {"none": 1}, entry())


def test_name_with_digits_may_be_a_plain_input() -> None:
    graph = {"1": {"class_type": "A", "inputs": {"2_x": 5}}}
    assert find_target("2_x", entry(inputs={}), graph) == {"node": "1", "field": "2_x", "kind": "value"}
