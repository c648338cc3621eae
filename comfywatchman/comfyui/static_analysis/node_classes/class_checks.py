"""Reads properties of a node class other than its inputs: its own checks, and whether it is an output node."""

from __future__ import annotations

import ast
from typing import Final

from comfywatchman.comfyui.static_analysis.expressions import ExpressionEvaluator
from comfywatchman.comfyui.static_analysis.values import UNKNOWN, ClassRef, ExternalName, FuncRef, Value
from comfywatchman.comfyui.validation.signature import ALL_INPUTS, INPUT_TYPES_CHECK

_CHECK_METHODS: Final = ("VALIDATE_INPUTS", "validate_inputs")
_PLAIN_BASES: Final = frozenset({"ABC", "ComfyNode", "ComfyNodeABC", "object"})
"""Bases from outside the pack that check no inputs and have no attributes of a node."""

_MAX_BASES: Final = 16


def read_own_checks(owner: ClassRef, interpreter: ExpressionEvaluator) -> tuple[str, ...] | None:
    """Return the inputs that a class checks by a function of its own; None if that is not known."""
    function = _find_check(owner, interpreter)
    if isinstance(function, FuncRef):
        return _list_parameters(function)
    return None if function is UNKNOWN else ()


def list_refusable(owner: ClassRef, interpreter: ExpressionEvaluator) -> tuple[str, ...]:
    """Return the inputs that a function of the class's own may refuse, as far as it is known.

    A function that has nothing but `return True` refuses none; it only keeps ComfyUI from comparing the value. Of a
    function that names some inputs and takes all, the named ones count.
    """
    function = _find_check(owner, interpreter)
    if not isinstance(function, FuncRef) or _accepts_all(function.node):
        return ()
    signature = function.node.args
    parameters = [parameter.arg for parameter in (*signature.posonlyargs, *signature.args)][1:]
    names = tuple(name for name in parameters if name != INPUT_TYPES_CHECK)
    return names or (ALL_INPUTS if signature.kwarg else ())


def _accepts_all(function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> bool:
    """Return whether a function only returns True."""
    if isinstance(function, ast.Lambda):
        return _is_true(function.body)
    rest = [statement for statement in function.body if not _is_text(statement)]
    return all(isinstance(statement, ast.Return) and _is_true(statement.value) for statement in rest)


def _is_true(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Constant) and value.value is True


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _find_check(owner: ClassRef, interpreter: ExpressionEvaluator, *, depth: int = 0) -> Value:
    """Return the function by which a class checks its inputs; False for a class without, UNKNOWN if it may have one."""
    # A decorator may add the function, and so may a base class that is not known.
    if depth > _MAX_BASES or owner.node.decorator_list:
        return UNKNOWN
    names = interpreter.read_class_body(owner).names
    for method in _CHECK_METHODS:
        if method in names:
            function = interpreter.get_attribute(owner, method)
            return function if isinstance(function, FuncRef) else UNKNOWN
    for base in owner.node.bases:
        value = interpreter.evaluate(base, owner.scope)
        if not isinstance(value, ClassRef):
            if _is_plain_base(base, value):
                continue
            return UNKNOWN
        function = _find_check(value, interpreter, depth=depth + 1)
        if function is not False:
            return function
    return False


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
