from __future__ import annotations

from typing import Any

import pytest

from comfywatchman.comfyui.server.prompts import (
    PromptResult,
    clean_extra_data,
    find_refusal,
    parse_history,
    parse_json_object,
)


@pytest.mark.parametrize(
    ("status", "answer", "reason"),
    [
        (200, {"prompt_id": "x", "node_errors": {}}, None),
        (200, {"prompt_id": "x", "node_errors": {"2": {}}}, "errors in 2"),
        (400, {"error": {"message": "no outputs", "details": "at all"}}, "no outputs at all"),
        (400, {"error": {}}, "status 400"),
        (500, {}, "status 500"),
    ],
)
def test_partly_accepted_prompt_is_refused(status: int, answer: dict[str, object], reason: str | None) -> None:
    assert find_refusal(status, answer) == reason


@pytest.mark.parametrize(
    ("entry", "result"),
    [
        ({"status": {"status_str": "success"}}, PromptResult("success")),
        ({"status": {"status_str": "error", "messages": []}}, PromptResult("error")),
        ({"status": "odd"}, PromptResult("error")),
        (
            {"status": {"status_str": "error", "messages": [["execution_start", {}], ["execution_interrupted", {}]]}},
            PromptResult("interrupted"),
        ),
        (
            {
                "status": {
                    "status_str": "error",
                    "messages": [
                        ["execution_start", {}],
                        [
                            "execution_error",
                            {
                                "node_type": "Made",
                                "exception_type": "RuntimeError",
                                "exception_message": "no\n numpy\n",
                            },
                        ],
                        "odd",
                    ],
                }
            },
            PromptResult("error", "Made: RuntimeError: no numpy"),
        ),
    ],
)
def test_history_gives_the_result(entry: dict[str, Any], result: PromptResult) -> None:
    assert parse_history(entry) == result


@pytest.mark.parametrize("entry", [None, {}, []])
def test_prompt_without_history_has_not_ended(entry: object) -> None:
    assert parse_history(entry) is None


@pytest.mark.parametrize(
    ("extra_data", "cleaned"),
    [
        ({"cw": 1}, {"cw": 1}),
        ({"extra_pnginfo": {"workflow": {"id": "w"}, "x": 1}}, {"extra_pnginfo": {"workflow": {"id": "w"}, "x": 1}}),
        ({"extra_pnginfo": {}}, {"extra_pnginfo": {}}),
        ({"extra_pnginfo": None, "cw": 1}, {"cw": 1}),
        ({"extra_pnginfo": []}, {}),
        ({"extra_pnginfo": {"workflow": None, "x": 1}}, {"extra_pnginfo": {"x": 1}}),
        ({"extra_pnginfo": {"workflow": "text"}}, {"extra_pnginfo": {}}),
    ],
)
def test_extra_data_cannot_break_the_list_of_jobs(extra_data: dict[str, Any], cleaned: dict[str, Any]) -> None:
    assert clean_extra_data(extra_data) == cleaned


def test_body_that_is_no_object_is_empty() -> None:
    assert parse_json_object(b'{"a": 1}') == {"a": 1}
    assert parse_json_object(b"500 Internal Server Error") == parse_json_object(b"[]") == {}
