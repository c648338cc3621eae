from __future__ import annotations

import json
from typing import Any

import pytest

from comfywatchman.readiness.search.image_workflow import extract_workflow

GRAPH: dict[str, Any] = {"nodes": [], "links": []}
PROMPT = {"1": {"class_type": "KSampler", "inputs": {}}}


@pytest.mark.parametrize(
    ("meta", "found"),
    [
        ({"comfy": json.dumps({"prompt": PROMPT, "workflow": GRAPH})}, GRAPH),
        ({"comfy": {"prompt": json.dumps(PROMPT), "workflow": json.dumps(GRAPH)}}, GRAPH),
        ({"comfy": json.dumps({"prompt": PROMPT, "workflow": {}})}, PROMPT),
        ({"comfy": json.dumps({"prompt": PROMPT}), "workflow": GRAPH}, GRAPH),
        ({"workflow": json.dumps(GRAPH), "prompt": "a cat {very} fluffy"}, GRAPH),
        ({"prompt": PROMPT}, PROMPT),
    ],
)
def test_the_graph_is_taken_before_the_prompt_wherever_they_stand(meta: dict[str, Any], found: object) -> None:
    content = extract_workflow(meta)
    assert content is not None
    assert json.loads(content) == found


@pytest.mark.parametrize(
    "meta",
    [
        {},
        {"comfy": ""},
        {"comfy": "{"},
        {"comfy": "[]"},
        {"comfy": 5, "workflow": "txt2img", "prompt": "{a cat}"},
        {"workflow": {"nodes": {}}},
        {"prompt": {"1": {"inputs": {}}}},
        {"comfy": "{" * 100_000},
        {"comfy": '{"workflow": {"nodes": ' + "[" * 900 + "]" * 900 + "}}"},
        {"comfy": '{"workflow": {"nodes": []}, "x": "\ud800"'},
    ],
)
def test_what_is_no_workflow_is_none(meta: dict[str, Any]) -> None:
    assert extract_workflow(meta) is None


def test_half_characters_do_not_keep_a_workflow_from_being_read() -> None:
    assert extract_workflow({"comfy": json.dumps({"workflow": GRAPH | {"title": "\ud800"}})}) is not None
    assert extract_workflow({"workflow": GRAPH | {"title": "\ud800"}}) is not None
