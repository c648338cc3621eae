"""Node classes that ComfyUI or its editor replaces by newer ones."""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular
from comfywatchman.comfyui.static_analysis.modules import MAX_SOURCE_BYTES, parse_source

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
_PARAMETERS: Final = (_NEW, _OLD)


@dataclass(frozen=True, slots=True)
class PackReplacements:
    """The replacements that a source names.

    Attributes:
        by_class: New class by old class; the first one of a class counts.
        has_computed: Whether there are others, whose classes are computed.
    """

    by_class: dict[str, str]
    has_computed: bool = False


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
        tree = parse_source(read_regular(source, max_bytes=MAX_SOURCE_BYTES))
    except (Failure, SyntaxError, ValueError, RecursionError, MemoryError):
        # A file that cannot be read replaces nothing for certain, but shows that the server does it.
        return {}
    return _collect_replacements(tree).by_class


def find_replacements(content: bytes) -> PackReplacements:
    """Return the replacements that a source file of a pack names; none for one that cannot be read."""
    # Hardly any pack replaces classes: only files with the name are parsed.
    if _CONSTRUCTOR.encode() not in content:
        return PackReplacements({})
    try:
        return _collect_replacements(parse_source(content))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return PackReplacements({})


def _collect_replacements(tree: ast.Module) -> PackReplacements:
    by_class: dict[str, str] = {}
    has_computed = False
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or _get_name(call.func) != _CONSTRUCTOR:
            continue
        arguments = dict(zip(_PARAMETERS, call.args, strict=False))
        arguments |= {str(keyword.arg): keyword.value for keyword in call.keywords}
        old, new = (_get_text(arguments.get(name)) for name in (_OLD, _NEW))
        if old is None or new is None:
            has_computed = True
        else:
            by_class.setdefault(old, new)
    return PackReplacements(by_class, has_computed=has_computed)


def _get_name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _get_text(value: ast.expr | None) -> str | None:
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else None
