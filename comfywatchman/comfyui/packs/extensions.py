"""Errors of packs of the V3 API that ComfyUI raises when it lists their nodes (`load_custom_node` in its nodes.py)."""

from __future__ import annotations

import ast
from typing import Final

from comfywatchman.comfyui.static_analysis.expressions import ExpressionEvaluator
from comfywatchman.comfyui.static_analysis.import_steps import RaiseStep
from comfywatchman.comfyui.static_analysis.values import (
    UNKNOWN,
    AbstractList,
    ClassInstance,
    ClassRef,
    ExternalName,
    FuncRef,
    Value,
)

_EXTENSION: Final = "ComfyExtension"
_NODE: Final = "ComfyNode"
_NODE_METHODS: Final = ("define_schema", "execute")
_MAX_BASES: Final = 16


def find_entry_error(extension: Value, interpreter: ExpressionEvaluator) -> RaiseStep | None:
    """Return why ComfyUI refuses what `comfy_entrypoint` returns; None when it accepts it, or that is not known."""
    if not isinstance(extension, ClassInstance):
        return None
    bases = _list_bases(extension.of, interpreter)
    if bases is None or _EXTENSION in bases:
        return None
    return RaiseStep(extension.of.node.lineno, "TypeError", "comfy_entrypoint did not return a ComfyExtension")


def find_listing_error(function: Value, classes: Value) -> RaiseStep | None:
    """Return why ComfyUI refuses what `get_node_list` returns; None when it accepts it, or that is not known."""
    if not isinstance(function, FuncRef) or isinstance(function.node, ast.Lambda):
        return None
    line = function.node.lineno
    if isinstance(function.node, ast.FunctionDef) and isinstance(classes, AbstractList):
        return RaiseStep(line, "TypeError", "get_node_list is not asynchronous")
    returned = [part.value for part in ast.walk(function.node) if isinstance(part, ast.Return)]
    if returned and all(isinstance(value, ast.Tuple) for value in returned):
        return RaiseStep(line, "TypeError", "get_node_list did not return a list of nodes")
    return None


def find_class_error(node_class: ClassRef, interpreter: ExpressionEvaluator) -> RaiseStep | None:
    """Return why ComfyUI refuses a node class; None when it accepts it, or that is not known."""
    bases = _list_bases(node_class, interpreter)
    if bases != {_NODE} or node_class.node.decorator_list:
        return None
    for name in _NODE_METHODS:
        if interpreter.get_class_attribute(node_class, name) is UNKNOWN:
            text = f"no {name} function was defined for node class {node_class.node.name}"
            return RaiseStep(node_class.node.lineno, "Exception", text)
    return None


def _list_bases(owner: ClassRef, interpreter: ExpressionEvaluator, *, depth: int = 0) -> set[str] | None:
    """Return the names of the base classes from outside of the pack; None when one of them is not known."""
    names: set[str] = set()
    for base in owner.node.bases:
        value = interpreter.evaluate(base, owner.scope)
        inner: set[str] | None = None
        if isinstance(value, ExternalName):
            inner = {value.name.rpartition(".")[2]}
        elif isinstance(value, ClassRef) and depth < _MAX_BASES:
            inner = _list_bases(value, interpreter, depth=depth + 1)
        if inner is None:
            return None
        names |= inner
    return names
