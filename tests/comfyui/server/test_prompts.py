from __future__ import annotations

from typing import Any

import pytest

from comfywatchman.comfyui.server.prompts import PromptResult, find_refusal, parse_history


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
