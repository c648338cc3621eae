from __future__ import annotations

from typing import Any

import pytest

from comfywatchman.jobs.files.problems import JobFileError
from comfywatchman.jobs.files.schema import (
    MAX_RUNS,
    as_whole_number,
    find_schema_problems,
    is_web_address,
    normalize_config,
    validate_config_schema,
)

WORKFLOWS: dict[str, dict[str, Any]] = {
    "portrait": {"template_path": "x.json", "required_inputs": ["prompt"]},
    "seeded": {"template_path": "x.json", "required_inputs": ["seed", "text"], "defaults": {"text": "x"}},
    "named": {"template_path": "x.json", "required_inputs": ["a", "b"], "seed_input": "a", "prompt_input": "b"},
}
JOB: dict[str, Any] = {
    "job_type": "T2I",
    "workflow_id": "portrait",
    "inputs": {"prompt": "a red fox"},
    "outputs": {"file_path": "image/fox.png"},
}


def job(**changes: Any) -> dict[str, Any]:
    return {**JOB, **changes}


def find_fields(**changes: Any) -> list[str]:
    problems = find_schema_problems(job(**changes), WORKFLOWS, job_types=("T2I", "T2V"), lines={})
    return [problem.field for problem in problems]


def test_minimal_job_is_valid() -> None:
    validate_config_schema(JOB, WORKFLOWS)


def test_full_job_is_valid() -> None:
    validate_config_schema(
        job(
            priority=1,
            retry_limit=0,
            seeds=[1, 2],
            prompts=["a", "b"],
            deadline_seconds=2.5,
            webhook="https://example.com/done?x=1",
            command=["notify-send", "done"],
            metadata={"creator": "me"},
        ),
        WORKFLOWS,
    )


@pytest.mark.parametrize("field", ["job_type", "workflow_id", "inputs", "outputs"])
def test_missing_field_is_refused(field: str) -> None:
    cfg = {name: value for name, value in JOB.items() if name != field}
    with pytest.raises(ValueError, match=field) as caught:
        validate_config_schema(cfg, WORKFLOWS)
    assert isinstance(caught.value, JobFileError)
    assert field in {problem.field for problem in caught.value.problems}


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"job_type": "3D"}, ["job_type"]),
        ({"job_type": 5}, ["job_type"]),
        ({"job_type": ["T2I"]}, ["job_type"]),
        ({"workflow_id": "portrat"}, ["workflow_id"]),
        ({"workflow_id": ""}, ["workflow_id"]),
        ({"workflow_id": {"a": 1}}, ["workflow_id"]),
        ({"inputs": {}}, ["inputs.prompt"]),
        ({"inputs": None}, ["inputs.prompt"]),
        ({"inputs": ["prompt"]}, ["inputs"]),
        ({"inputs": "prompt"}, ["inputs"]),
        ({"outputs": "image/x.png"}, ["outputs"]),
        ({"outputs": {}}, ["outputs.file_path"]),
        ({"outputs": {"file_path": ""}}, ["outputs.file_path"]),
        ({"outputs": {"file_path": 5}}, ["outputs.file_path"]),
        ({"outputs": {"file_path": "x", "format": "png"}}, ["outputs.format"]),
        ({"priority": "high"}, ["priority"]),
        ({"priority": True}, ["priority"]),
        ({"priority": 1.5}, ["priority"]),
        ({"priority": [1]}, ["priority"]),
        ({"retry_limit": -1}, ["retry_limit"]),
        ({"retry_limit": 1001}, ["retry_limit"]),
        ({"retry_limit": "x"}, ["retry_limit"]),
        ({"deadline_seconds": 0}, ["deadline_seconds"]),
        ({"deadline_seconds": "60"}, ["deadline_seconds"]),
        ({"deadline_seconds": True}, ["deadline_seconds"]),
        ({"deadline_seconds": 1e12}, ["deadline_seconds"]),
        ({"seeds": 0}, ["seeds"]),
        ({"seeds": []}, ["seeds"]),
        ({"seeds": [-1]}, ["seeds"]),
        ({"seeds": [1.5]}, ["seeds"]),
        ({"seeds": "x"}, ["seeds"]),
        ({"seeds": MAX_RUNS + 1}, ["seeds"]),
        ({"prompts": []}, ["prompts"]),
        ({"prompts": "a"}, ["prompts"]),
        ({"prompts": ["a", " "]}, ["prompts"]),
        ({"prompts": ["a", 5]}, ["prompts"]),
        ({"prompts": ["a", "b"], "seeds": MAX_RUNS // 2 + 1}, ["prompts"]),
        ({"webhook": "ftp://example.com"}, ["webhook"]),
        ({"command": "rm -rf /"}, ["command"]),
        ({"command": []}, ["command"]),
        ({"command": ["", "x"]}, ["command"]),
        ({"command": ["x", 5]}, ["command"]),
        ({"metadata": "x"}, ["metadata"]),
        ({"workflw_id": "x"}, ["workflw_id"]),
    ],
)
def test_invalid_field_is_named(changes: dict[str, Any], fields: list[str]) -> None:
    assert find_fields(**changes) == fields


def test_all_problems_are_found_at_once() -> None:
    assert find_fields(job_type="x", workflow_id="y", outputs=5) == ["job_type", "workflow_id", "outputs"]


def test_empty_job_names_every_needed_field() -> None:
    problems = find_schema_problems({}, WORKFLOWS, job_types=("T2I",), lines={})
    assert [problem.field for problem in problems] == ["job_type", "workflow_id", "inputs", "outputs"]


@pytest.mark.parametrize("priority", [0, -5, 1000, 10**12, "7", 7.0, None])
def test_priority_out_of_range_is_no_problem(priority: object) -> None:
    assert find_fields(priority=priority) == []


def test_seeds_and_prompts_give_the_needed_inputs() -> None:
    assert find_fields(inputs={}, prompts=["a"]) == []
    assert find_fields(workflow_id="seeded", inputs={}) == ["inputs.seed"]
    assert find_fields(workflow_id="seeded", inputs={}, seeds=2) == []
    assert find_fields(workflow_id="named", inputs={}, seeds=2, prompts=["a"]) == []
    assert find_fields(workflow_id="named", inputs={}, seeds=2) == ["inputs.b"]


def test_most_runs_of_one_file_are_accepted() -> None:
    assert find_fields(seeds=MAX_RUNS) == []
    assert find_fields(seeds=MAX_RUNS // 2, prompts=["a", "b"]) == []
    assert find_fields(seeds=[0, (1 << 64) - 1]) == []


def test_problem_has_the_line_of_its_field_or_of_the_field_around_it() -> None:
    lines = {"outputs": 7, "priority": 3}
    problems = find_schema_problems(job(outputs={}, priority="x"), WORKFLOWS, job_types=("T2I",), lines=lines)
    assert {problem.field: problem.line for problem in problems} == {"outputs.file_path": 7, "priority": 3}


def test_mistyped_field_gets_a_suggestion() -> None:
    with pytest.raises(JobFileError, match="Did you mean 'priority'"):
        validate_config_schema(job(priorty=3), WORKFLOWS)


DEFAULTS = {"default_priority": 40, "retry_limit": 5}


def test_missing_priority_and_retries_are_filled_in() -> None:
    normalized = normalize_config(JOB, DEFAULTS)
    assert (normalized["priority"], normalized["retry_limit"]) == (40, 5)
    assert (normalize_config(JOB, {})["priority"], normalize_config(JOB, {})["retry_limit"]) == (50, 2)


def test_given_values_stay() -> None:
    normalized = normalize_config(job(priority=7, retry_limit=0), DEFAULTS)
    assert (normalized["priority"], normalized["retry_limit"]) == (7, 0)
    assert normalized["inputs"] == JOB["inputs"]


@pytest.mark.parametrize(
    ("priority", "expected"),
    [(0, 1), (-5, 1), (1, 1), (999, 999), (1000, 999), (10**12, 999), ("7", 7), (7.0, 7), (None, 40)],
)
def test_priority_is_limited(priority: object, expected: int) -> None:
    assert normalize_config(job(priority=priority), DEFAULTS)["priority"] == expected


def test_given_mapping_is_not_changed() -> None:
    cfg = job(inputs={"list": [1]})
    normalized = normalize_config(cfg, DEFAULTS)
    normalized["inputs"]["list"].append(2)
    assert cfg == job(inputs={"list": [1]})


def test_types_are_made_equal() -> None:
    normalized = normalize_config(job(inputs=None, seeds="4", retry_limit="1"), DEFAULTS)
    assert (normalized["inputs"], normalized["seeds"], normalized["retry_limit"]) == ({}, 4, 1)
    assert normalize_config(job(seeds=[1]), DEFAULTS)["seeds"] == [1]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(5, 5), ("5", 5), (" 5 ", 5), ("-5", -5), (5.0, 5), (5.5, None), (True, None), ("\u0665", None), ("9" * 20, None)],
)
def test_whole_numbers_are_recognised(value: object, expected: int | None) -> None:
    assert as_whole_number(value) == expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://127.0.0.1:9/done", True),
        ("https://example.com", True),
        ("http://", False),
        ("http://user:secret@example.com", False),
        ("http://example.com:99999", False),
        ("http://[::1", False),
        ("javascript:alert(1)", False),
        ("http://a b", False),
        ("http://a\nb", False),
        (5, False),
    ],
)
def test_web_addresses_are_recognised(address: object, *, expected: bool) -> None:
    assert is_web_address(address) is expected
