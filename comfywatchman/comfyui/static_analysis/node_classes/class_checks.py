"""Reads properties of a node class other than its inputs: its own checks, and whether it is an output node."""

from __future__ import annotations

import ast
from typing import Final

from comfywatchman.comfyui.static_analysis.expressions import ExpressionEvaluator
from comfywatchman.comfyui.static_analysis.values import UNKNOWN, ClassRef, ExternalName, FuncRef, Value
from comfywatchman.comfyui.validation.signature import ALL_INPUTS

_CHECK_METHODS: Final = ("VALIDATE_INPUTS", "validate_inputs")
_PLAIN_BASES: Final = frozenset({"ABC", "ComfyNode", "ComfyNodeABC", "object"})
"""Bases from outside the pack that check no inputs and have no attributes of a node."""

_MAX_BASES: Final = 16


def read_own_checks(owner: ClassRef, interpreter: ExpressionEvaluator, *, depth: int = 0) -> tuple[str, ...] | None:
    """Return the inputs that a class checks by a function of its own; None if that is not known."""
    # A decorator may add the function, and so may a base class that is not known.
    if depth > _MAX_BASES or owner.node.decorator_list:
        return None
    names = interpreter.read_class_body(owner).names
    for method in _CHECK_METHODS:
        if method in names:
            function = interpreter.get_attribute(owner, method)
            return _list_parameters(function) if isinstance(function, FuncRef) else None
    for base in owner.node.bases:
        value = interpreter.evaluate(base, owner.scope)
        if not isinstance(value, ClassRef):
            if _is_plain_base(base, value):
                continue
            return None
        own_checks = read_own_checks(value, interpreter, depth=depth + 1)
        if own_checks != ():
            return own_checks
    return ()


def _list_parameters(function: FuncRef) -> tuple[str, ...]:
    """Return the parameters as ComfyUI sees them: a function with `**kwargs` takes every input."""
    signature = function.node.args
    if signature.kwarg:
        return ALL_INPUTS
    return tuple(parameter.arg for parameter in (*signature.posonlyargs, *signature.args))


def _has_known_bases(owner: ClassRef, interpreter: ExpressionEvaluator, *, depth: int = 0) -> bool:
    if depth > _MAX_BASES:
        return False
    for base in owner.node.bases:
        value = interpreter.evaluate(base, owner.scope)
        if isinstance(value, ClassRef):
            if not _has_known_bases(value, interpreter, depth=depth + 1):
                return False
        elif not _is_plain_base(base, value):
            return False
    return True


def read_output_mark(owner: ClassRef, interpreter: ExpressionEvaluator) -> Value:
    """Return `OUTPUT_NODE` of a V1 class; False for a class that certainly has none."""
    mark = interpreter.get_attribute(owner, "OUTPUT_NODE")
    if mark is not UNKNOWN:
        return mark
    # A class without the attribute is no output node; one whose value is not understood may be.
    return UNKNOWN if may_have_attribute(owner, "OUTPUT_NODE", interpreter) else False


def may_have_attribute(owner: ClassRef, name: str, interpreter: ExpressionEvaluator) -> bool:
    """Return whether a class has an attribute, or may have it."""
    if owner.node.decorator_list or not _has_known_bases(owner, interpreter):
        return True
    waiting = [owner]
    while waiting:
        part = waiting.pop()
        if name in interpreter.read_class_body(part).names:
            return True
        bases = [interpreter.evaluate(base, part.scope) for base in part.node.bases]
        waiting.extend(base for base in bases if isinstance(base, ClassRef))
    return False


def _is_plain_base(base: ast.expr, value: Value) -> bool:
    if isinstance(value, ExternalName):
        return value.name.rpartition(".")[2] in _PLAIN_BASES
    return isinstance(base, ast.Name) and base.id == "object"
