"""The minimal prompt that proves that a ComfyUI computes, and what its answers mean."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from comfywatchman.governance.store.records import Finding

Prompt = dict[str, dict[str, Any]]

_IMAGE_PROMPT: Final[Prompt] = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 0}},
    "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
}
"""Makes a tensor and writes a picture into the temporary folder: torch, numpy and Pillow have to work together."""

_IMAGE_CLASSES: Final = frozenset({"EmptyImage", "PreviewImage"})


def choose_prompt(classes: Collection[str], mark: str) -> Prompt | None:
    """Return a prompt that needs no file and no model; None when the server has no class for one.

    Args:
        classes: The server's classes.
        mark: A text that no earlier prompt had, so that no cache answers.
    """
    if frozenset(classes) >= _IMAGE_CLASSES:
        return _IMAGE_PROMPT
    if "PreviewAny" in classes:
        return {"1": {"class_type": "PreviewAny", "inputs": {"source": mark}}}
    return None


def find_refusal(status: int, answer: Mapping[str, object]) -> str | None:
    """Say why a server did not take a prompt whole; None when it did.

    A 200 with errors of single nodes is a refusal too: ComfyUI drops those outputs and reports success.
    """
    error = answer.get("error")
    if isinstance(error, dict):
        return f"{error.get('message', '')} {error.get('details', '')}".strip() or f"status {status}"
    if status != 200:  # noqa: PLR2004 - OK
        return f"status {status}"
    errors = answer.get("node_errors")
    return f"errors in {', '.join(sorted(map(str, errors)))}" if isinstance(errors, dict) and errors else None


def parse_outcome(entry: object) -> Finding | None:
    """Return what a history entry says of the prompt; None while there is none."""
    if not isinstance(entry, dict) or not entry:
        return None
    status = entry.get("status")
    told = status if isinstance(status, dict) else {}
    if told.get("status_str") == "success":
        return Finding(name="probe", status="ok", detail="A minimal prompt was computed.")
    return Finding(
        name="probe", status="fail", detail=f"A minimal prompt failed: {_parse_error(told) or 'no reason given'}."
    )


def _parse_error(status: dict[str, Any]) -> str:
    for message in reversed(status.get("messages") or []):
        facts = message[1] if isinstance(message, list) and len(message) > 1 else None
        if isinstance(facts, dict) and "exception_type" in facts:
            node, kind, text = (
                str(facts.get(name, "")) for name in ("node_type", "exception_type", "exception_message")
            )
            return f"{node}: {kind}: {' '.join(text.split())}"
    return ""
