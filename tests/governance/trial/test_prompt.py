from __future__ import annotations

from typing import Any

import pytest

from comfywatchman.governance.trial.prompt import choose_prompt, find_refusal, parse_outcome


def test_a_picture_is_made_where_the_classes_are_there() -> None:
    prompt = choose_prompt({"EmptyImage", "PreviewImage", "PreviewAny"}, "mark")
    assert prompt is not None
    assert [node["class_type"] for node in prompt.values()] == ["EmptyImage", "PreviewImage"]


def test_else_a_text_is_shown_that_no_cache_holds() -> None:
    assert choose_prompt({"PreviewAny"}, "mark") == {"1": {"class_type": "PreviewAny", "inputs": {"source": "mark"}}}
    assert choose_prompt({"PreviewImage"}, "mark") is None


@pytest.mark.parametrize(
    ("status", "answer", "why"),
    [
        (200, {"prompt_id": "x", "node_errors": {}}, None),
        (200, {"prompt_id": "x", "node_errors": {"2": {}}}, "errors in 2"),
        (400, {"error": {"message": "no outputs", "details": "at all"}}, "no outputs at all"),
        (400, {"error": {}}, "status 400"),
        (500, {}, "status 500"),
    ],
)
def test_a_prompt_that_is_not_taken_whole_is_refused(status: int, answer: dict[str, object], why: str | None) -> None:
    assert find_refusal(status, answer) == why


@pytest.mark.parametrize(
    ("entry", "detail"),
    [
        ({"status": {"status_str": "success"}}, "A minimal prompt was computed."),
        ({"status": {"status_str": "error", "messages": []}}, "A minimal prompt failed: no reason given."),
        ({"status": "odd"}, "A minimal prompt failed: no reason given."),
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
            "A minimal prompt failed: Made: RuntimeError: no numpy.",
        ),
    ],
)
def test_the_history_tells_how_it_went(entry: dict[str, Any], detail: str) -> None:
    ended = parse_outcome(entry)
    assert ended is not None
    assert ended.detail == detail


@pytest.mark.parametrize("entry", [None, {}, []])
def test_without_an_entry_it_has_not_ended(entry: object) -> None:
    assert parse_outcome(entry) is None
