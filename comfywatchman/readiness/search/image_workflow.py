"""Extracts the ComfyUI workflow from the metadata of a picture on Civitai. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import to_json
from comfywatchman.comfyui.workflow.jsontext import parse_json
from comfywatchman.comfyui.workflow.prompt import is_prompt

_WORKFLOW_KEYS: Final = ("workflow", "prompt")


def extract_workflow(meta: Mapping[str, Any]) -> bytes | None:
    """Return the content of a picture's workflow file: the editor's graph if there is one, else the server's prompt.

    Args:
        meta: Metadata of a validated picture. Civitai keeps both texts of ComfyUI in its `comfy`, as JSON inside a
            JSON string; some programs write them beside it.
    """
    prompt = None
    try:
        for value in _find_objects(meta):
            if isinstance(value.get("nodes"), list):
                return to_json(value)
            if prompt is None and is_prompt(value):
                prompt = value
        return to_json(prompt) if prompt is not None else None
    except (TypeError, RecursionError):
        # Nested deeper than any workflow.
        return None


def _find_objects(meta: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for holder in (_parse_object(meta.get("comfy")), meta):
        if holder is None:
            continue
        for key in _WORKFLOW_KEYS:
            value = _parse_object(holder.get(key))
            if value is not None:
                yield value


def _parse_object(value: object) -> dict[str, Any] | None:
    """Return a JSON object, or the one that a string contains."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            # Half of a surrogate pair is not valid UTF-8, but the parser accepts it.
            value, _problems = parse_json(value.encode("utf-8", "surrogatepass"))
        except Failure:
            return None
    return value if isinstance(value, dict) else None
