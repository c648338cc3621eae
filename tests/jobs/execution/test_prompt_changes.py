"""Prefixes and forced outputs; that a real ComfyUI runs the nodes again: tests/real_comfyui/test_jobs.py."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from comfywatchman.jobs.execution.prompt_changes import find_last_nodes, force_outputs, set_unique_prefixes

PROMPT: dict[str, dict[str, Any]] = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "size": [1, 2]}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "cat"}},
    "3": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    "4": {"class_type": "Odd"},
}


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [("cat", "cat_t1"), ("", "t1"), ("video/", "video/t1"), ("video/cat", "video/cat_t1"), ("cat_", "cat_t1")],
)
def test_prefix_ends_with_the_token(prefix: str, expected: str) -> None:
    prompt = {"2": {"class_type": "SaveImage", "inputs": {"filename_prefix": prefix}}}
    assert set_unique_prefixes(prompt, "t1")["2"]["inputs"]["filename_prefix"] == expected


def test_prefix_from_another_node_stays() -> None:
    prompt = {"2": {"class_type": "SaveImage", "inputs": {"filename_prefix": ["1", 0]}}}
    assert set_unique_prefixes(prompt, "t1") == prompt


def test_last_nodes_are_those_that_no_node_uses() -> None:
    assert find_last_nodes(PROMPT) == {"2", "3", "4"}


def test_forced_nodes_get_an_input_of_their_own() -> None:
    before = copy.deepcopy(PROMPT)
    forced = force_outputs(PROMPT, "t1")
    assert {key for key, node in forced.items() if node.get("inputs", {}).get("comfywatchman_run") == "t1"} == {
        "2",
        "3",
        "4",
    }
    assert forced["1"] == PROMPT["1"]
    assert before == PROMPT, "the prompt of the caller is not changed"
