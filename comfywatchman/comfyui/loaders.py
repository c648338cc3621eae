"""Which inputs of which node classes name a model file, and of which folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class LoaderInput:
    """One input of a node class that takes a model name.

    Attributes:
        class_type: Node class.
        name: Input name.
        folder: Canonical model folder.
        widget_index: Place in the editor's `widgets_values` list; None when only the name is known.
        evidence: What says so, in words (`object_info of ComfyUI 0.33.0`).
        confidence: `high` for probed or live knowledge, `medium` for a static reading of a pack's source.
    """

    class_type: str
    name: str
    folder: str
    widget_index: int | None
    evidence: str
    confidence: Literal["high", "medium"]
