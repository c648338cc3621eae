"""Node classes that ComfyUI or its editor replaces by newer ones."""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular
from comfywatchman.comfyui.static_analysis.modules import MAX_SOURCE_BYTES

EDITOR_RENAMES: Final[Mapping[str, str]] = {
    "T2IAdapterLoader": "ControlNetLoader",
    "ConditioningAverage ": "ConditioningAverage",
    "SDV_img2vid_Conditioning": "SVD_img2vid_Conditioning",
    "Load3DAnimation": "Load3D",
    "Preview3DAnimation": "Preview3D",
}
"""Classes that the editor renames when it loads a file (frontend 1.32.9 and 1.35.9, of ComfyUI 0.3.75 and 0.7).

The editors of ComfyUI with server-side replacements (1.45.21 of 0.28, 1.49.6 of 0.33, and 1.58.1) rename nothing: they
offer the replacement and, until the user accepts it, send the node without a class, which the server refuses.
"""

_SOURCE: Final = Path("comfy_extras") / "nodes_replacements.py"
_CONSTRUCTOR: Final = "NodeReplace"
_OLD, _NEW = "old_node_id", "new_node_id"


@dataclass(frozen=True, slots=True)
class ClassReplacements:
    """Replacements that take effect on a host, new class by old class.

    Attributes:
        in_prompts: Those that the server applies to a prompt. It needs the old class and the `_meta` of the node.
        in_editor: Those that the editor applies to a file of its own format.
    """

    in_prompts: Mapping[str, str] = field(default_factory=dict)
    in_editor: Mapping[str, str] = field(default_factory=dict)


NO_REPLACEMENTS: Final = ClassReplacements()


def choose_replacements(of_server: Mapping[str, str] | None, classes: Collection[str]) -> ClassReplacements:
    """Return the replacements of a ComfyUI whose new class it has.

    Args:
        of_server: The replacements of its server; None for a version without any.
        classes: The classes that it has.
    """
    renames = EDITOR_RENAMES if of_server is None else of_server
    usable = {old: new for old, new in renames.items() if new in classes}
    return ClassReplacements(in_editor=usable) if of_server is None else ClassReplacements(in_prompts=usable)


def read_replacements(comfyui_root: Path) -> dict[str, str] | None:
    """Return ComfyUI's own replacements, new class by old class, from its source.

    The server applies the first replacement of a class to a prompt before it validates it (`app/node_replace_manager`).

    Returns:
        The replacements; None for a ComfyUI without any, whose editor renames classes itself.
    """
    source = comfyui_root / _SOURCE
    if not source.exists():
        return None
    try:
        tree = ast.parse(read_regular(source, max_bytes=MAX_SOURCE_BYTES))
    except (Failure, SyntaxError, ValueError, RecursionError):
        # A file that cannot be read replaces nothing for certain, but shows that the server does it.
        return {}
    replacements: dict[str, str] = {}
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and _get_name(call.func) == _CONSTRUCTOR:
            values = {keyword.arg: _get_text(keyword.value) for keyword in call.keywords}
            old, new = values.get(_OLD), values.get(_NEW)
            if old is not None and new is not None:
                replacements.setdefault(old, new)
    return replacements


def _get_name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _get_text(value: ast.expr) -> str | None:
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else None
