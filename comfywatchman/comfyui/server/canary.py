"""A minimal prompt that proves that a running ComfyUI computes."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection
from typing import Final

from comfywatchman.base.http import HttpSession
from comfywatchman.comfyui.server.prompts import Prompt, PromptResult, run_prompt

_IMAGE_PROMPT: Final[Prompt] = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 0}},
    "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
}
"""Creates a tensor and writes an image into the temporary folder: torch, numpy and Pillow must work together."""

_IMAGE_CLASSES: Final = frozenset({"EmptyImage", "PreviewImage"})
_REQUEST_SECONDS: Final = 60.0


def choose_canary(classes: Collection[str], unique_text: str) -> Prompt | None:
    """Return a prompt that needs no file and no model; None when the server has no class for one.

    Args:
        classes: The server's node classes.
        unique_text: A text that no earlier prompt had, so that the server's cache cannot answer.
    """
    if frozenset(classes) >= _IMAGE_CLASSES:
        return _IMAGE_PROMPT
    if "PreviewAny" in classes:
        return {"1": {"class_type": "PreviewAny", "inputs": {"source": unique_text}}}
    return None


def run_canary(
    url: str, classes: Collection[str], *, limit_seconds: float, is_running: Callable[[], bool]
) -> PromptResult | None:
    """Run a minimal prompt; return None when the server has no class for one.

    Args:
        url: The address of the server.
        classes: The server's node classes.
        limit_seconds: The time that the prompt may take.
        is_running: Returns whether the process of the server still runs, after a short wait.

    Raises:
        Failure: `http-unreachable`, `http-status` or `http-body`.
    """
    prompt_id = str(uuid.uuid4())
    prompt = choose_canary(classes, prompt_id)
    if prompt is None:
        return None
    with HttpSession(timeout_seconds=_REQUEST_SECONDS) as session:
        return run_prompt(session, url, prompt, prompt_id, limit_seconds=limit_seconds, is_running=is_running)
