"""Prompts, and how the answers of ComfyUI about them are read. Pure; `prompt_client` sends the requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

from comfywatchman.base.json_values import as_list, as_mapping
from comfywatchman.comfyui.server.log_text import clean_line

Prompt = dict[str, dict[str, Any]]
"""A workflow in API format: node ids with `class_type` and `inputs`."""

_OK: Final = 200


@dataclass(frozen=True, slots=True)
class PromptResult:
    """The end of a prompt.

    Attributes:
        outcome: `success`, `error` (a node raised), `interrupted`, `refused` (by the validation of the server),
            `timeout`, `lost` (the server ended meanwhile, or no longer knows the prompt), or `abandoned` (whoever
            waited for its end stopped waiting).
        reason: Why it failed, on one line; empty when the server does not say.
    """

    outcome: Literal["success", "error", "interrupted", "refused", "timeout", "lost", "abandoned"]
    reason: str = ""


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
    if _is_interrupted(status):
        return PromptResult("interrupted")
    return PromptResult("error", _parse_error(status))


def clean_extra_data(extra_data: Mapping[str, object]) -> dict[str, object]:
    """Return additional data of a prompt without the values that break a server's list of jobs.

    ComfyUI runs a prompt whose `extra_pnginfo` or the workflow in it is not an object, but from then on its list of
    jobs fails for everybody (`comfy_execution/jobs.py`).
    """
    cleaned = dict(extra_data)
    embedded = cleaned.get("extra_pnginfo")
    if not isinstance(embedded, dict):
        cleaned.pop("extra_pnginfo", None)
    elif not isinstance(embedded.get("workflow", {}), dict):
        cleaned["extra_pnginfo"] = {name: value for name, value in embedded.items() if name != "workflow"}
    return cleaned


def parse_json_object(body: bytes) -> Mapping[str, object]:
    """Return a JSON object, whatever the status of its response; empty for anything else: ComfyUI's 500 is text."""
    try:
        return as_mapping(orjson.loads(body))
    except orjson.JSONDecodeError:
        return {}


def _is_interrupted(status: dict[str, Any]) -> bool:
    # The status of an interrupted prompt is "error" as well; only its last message differs.
    last = as_list(status.get("messages"))[-1:]
    return any(as_list(message)[:1] == ["execution_interrupted"] for message in last)


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
