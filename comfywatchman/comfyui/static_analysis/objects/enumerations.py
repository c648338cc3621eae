"""Enumerations of a pack (`class Size(str, Enum)`): the members that a loop visits."""

from __future__ import annotations

from typing import Final

from comfywatchman.comfyui.static_analysis.expressions import ExpressionEvaluator
from comfywatchman.comfyui.static_analysis.values import (
    UNKNOWN,
    AbstractList,
    ClassRef,
    EnumMember,
    ExternalName,
    FuncRef,
    Value,
    is_constant,
)

_ENUMS: Final = frozenset({"enum.Enum", "enum.IntEnum", "enum.StrEnum"})
_MAX_BASES: Final = 20


def list_members(interpreter: ExpressionEvaluator, owner: ClassRef) -> AbstractList | None:
    """Return the members of an enumeration, in order; None for any other class."""
    if not _is_enumeration(interpreter, owner):
        return None
    scope = interpreter.read_class_body(owner)
    # A class that builds its members itself may give them other values.
    is_plain = "__new__" not in scope.names and "__init__" not in scope.names
    members: list[Value] = []
    seen: list[Value] = []
    # A copy: evaluating a member may change the names.
    for name, raw_value in list(scope.names.items()):
        if _is_reserved(name) or isinstance(raw_value, FuncRef | ClassRef):
            continue
        value = interpreter.force(scope, name)
        # A second name for the same value is an alias, which a loop does not visit.
        if is_plain and is_constant(value) and value in seen:
            continue
        seen.append(value)
        members.append(EnumMember(name, value if is_plain else UNKNOWN))
    return AbstractList(members)


def _is_reserved(name: str) -> bool:
    """Return whether Python takes no member from a name (`_ignore_`, `__doc__`, `__private`); `_3d` is a member."""
    return name.startswith("__") or (name.startswith("_") and name.endswith("_"))


def _is_enumeration(interpreter: ExpressionEvaluator, owner: ClassRef, depth: int = 0) -> bool:
    if depth > _MAX_BASES:
        return False
    for base in owner.node.bases:
        value = interpreter.evaluate(base, owner.scope)
        if isinstance(value, ExternalName) and value.name in _ENUMS:
            return True
        if isinstance(value, ClassRef) and _is_enumeration(interpreter, value, depth + 1):
            return True
    return False
