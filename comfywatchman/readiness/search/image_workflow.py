"""The workflow of ComfyUI that Civitai keeps of a picture, out of what the picture's metadata says. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import to_json
from comfywatchman.comfyui.workflow.jsontext import parse_json
from comfywatchman.comfyui.workflow.prompt import is_prompt

_WORKFLOW_KEYS: Final = ("workflow", "prompt")


def extract_workflow(meta: Mapping[str, Any]) -> bytes | None:
    """Return a picture's workflow as a file holds it, the editor's graph before the server's prompt; None without one.

    Args:
        meta: What a validated picture says of its making. Civitai keeps ComfyUI's two texts in its `comfy`, as JSON in
            a text; some programs write them beside it.
    """
    found = [value for value in _find_objects(meta) if isinstance(value.get("nodes"), list) or is_prompt(value)]
    found.sort(key=lambda value: not isinstance(value.get("nodes"), list))
    try:
        return to_json(found[0]) if found else None
    except (TypeError, RecursionError):
        return None  # nested deeper than any workflow


def _find_objects(meta: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for holder in (_parse_object(meta.get("comfy")), meta):
        for place in _WORKFLOW_KEYS:
            value = _parse_object(holder.get(place)) if holder is not None else None
            if value is not None:
                yield value


def _parse_object(value: object) -> dict[str, Any] | None:
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value, _problems = parse_json(value.encode("utf-8", "surrogatepass"))
        except Failure:
            return None
    return value if isinstance(value, dict) else None
