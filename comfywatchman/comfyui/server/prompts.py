"""Submit a prompt to a running ComfyUI, wait for its end by polling, and interrupt it at a time limit."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

from comfywatchman.base.http import HttpSession
from comfywatchman.base.json_values import as_list, as_mapping
from comfywatchman.comfyui.server.log_text import clean_line

Prompt = dict[str, dict[str, Any]]
"""A workflow in API format: node ids with `class_type` and `inputs`."""

_OK: Final = 200


@dataclass(frozen=True, slots=True)
class PromptResult:
    """The end of a prompt.

    Attributes:
        outcome: `success`, `error` (a node raised), `refused` (by the validation of the server), `timeout`, or `lost`
            (the server ended meanwhile).
        reason: Why it failed, on one line; empty when the server does not say.
    """

    outcome: Literal["success", "error", "refused", "timeout", "lost"]
    reason: str = ""


def run_prompt(
    session: HttpSession,
    url: str,
    prompt: Prompt,
    prompt_id: str,
    *,
    limit_seconds: float,
    is_running: Callable[[], bool],
) -> PromptResult:
    """Run a prompt; one that does not end in time is interrupted.

    Args:
        session: The HTTP session.
        url: The address of the server.
        prompt: The prompt.
        prompt_id: The id to give it, a UUID.
        limit_seconds: The time that the prompt may take.
        is_running: Returns whether the process of the server still runs, after a short wait: it paces the polling.

    Raises:
        Failure: `http-unreachable`, `http-status` or `http-body`.
    """
    response = session.post_json(f"{url}/prompt", {"prompt": prompt, "prompt_id": prompt_id})
    answer = _parse_object(response.body)
    refusal = find_refusal(response.status, answer)
    if refusal is not None:
        return PromptResult("refused", refusal)
    # The server may give the prompt another id than the requested one.
    accepted_id = str(answer.get("prompt_id", prompt_id))
    deadline = time.monotonic() + limit_seconds
    while time.monotonic() < deadline:
        if not is_running():
            return PromptResult("lost")
        history = session.get_json(f"{url}/history/{accepted_id}")
        result = parse_history(as_mapping(history).get(accepted_id))
        if result is not None:
            return result
    session.post_json(f"{url}/interrupt", {"prompt_id": accepted_id})
    return PromptResult("timeout")


def find_refusal(status: int, answer: Mapping[str, object]) -> str | None:
    """Return why a server refused a prompt or a part of it; None when it accepted all of it.

    A 200 with errors of single nodes is a refusal too: ComfyUI drops those outputs and reports success.
    """
    error = answer.get("error")
    if isinstance(error, dict):
        text = f"{error.get('message', '')} {error.get('details', '')}"
        return clean_line(text) or f"status {status}"
    if status != _OK:
        return f"status {status}"
    errors = answer.get("node_errors")
    if isinstance(errors, dict) and errors:
        return clean_line(f"errors in {', '.join(sorted(map(str, errors)))}")
    return None


def parse_history(entry: object) -> PromptResult | None:
    """Return the result in a history entry; None while the prompt has not ended."""
    if not isinstance(entry, dict) or not entry:
        return None
    status = entry.get("status")
    if not isinstance(status, dict):
        return PromptResult("error")
    if status.get("status_str") == "success":
        return PromptResult("success")
    return PromptResult("error", _parse_error(status))


def _parse_error(status: dict[str, Any]) -> str:
    """Return the last error among the messages of a history entry, each of which is `[event, facts]`.

    Of the events, `execution_error` and similar events carry an `exception_type`.
    """
    for message in reversed(as_list(status.get("messages"))):
        _event, raw_facts, *_others = [*as_list(message), None, None]
        facts = as_mapping(raw_facts)
        if "exception_type" in facts:
            node_type = facts.get("node_type", "")
            return clean_line(f"{node_type}: {facts['exception_type']}: {facts.get('exception_message', '')}")
    return ""


def _parse_object(body: bytes) -> Mapping[str, object]:
    """Return a JSON object, whatever the status of its response; empty for anything else: ComfyUI's 500 is text."""
    try:
        return as_mapping(orjson.loads(body))
    except orjson.JSONDecodeError:
        return {}
