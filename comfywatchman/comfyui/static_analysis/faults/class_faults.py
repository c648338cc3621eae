"""Why ComfyUI cannot list a V1 node class: `node_info` of its server.py reads INPUT_TYPES and RETURN_TYPES."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from comfywatchman.comfyui.static_analysis.expressions import ExpressionEvaluator
from comfywatchman.comfyui.static_analysis.import_steps import FaultStep
from comfywatchman.comfyui.static_analysis.node_classes.class_checks import may_have_attribute
from comfywatchman.comfyui.static_analysis.values import AbstractDict, AbstractList, ClassRef, FuncRef, Value

_INPUTS: Final = "INPUT_TYPES"
_OUTPUTS: Final = "RETURN_TYPES"
_OUTPUT_LISTS: Final = "OUTPUT_IS_LIST"
_OTHER_SOURCES: Final = ("__init_subclass__", "define_schema", "__class_getitem__")
"""Attributes of classes that may get those of a node in another way."""

_HIDDEN_CODE: Final = re.compile(rb"\b(?:setattr|vars|locals|exec)\(|\bcls\.(?:INPUT|RETURN)_TYPES[ \t]*=|__dict__")
"""Code that may add attributes to a class which no statement shows."""

_METHOD_KINDS: Final = frozenset({"classmethod", "staticmethod"})


def find_class_fault(owner: ClassRef, interpreter: ExpressionEvaluator) -> FaultStep | None:
    """Return the error that ComfyUI gets when it lists a V1 class; None when it gets none, or that is not known."""
    if interpreter.has_given_up or owner.node.keywords or _has_hidden_code(owner.scope.module.content):
        return None
    if any(may_have_attribute(owner, name, interpreter) for name in _OTHER_SOURCES):
        return None
    for name in (_INPUTS, _OUTPUTS):
        if not may_have_attribute(owner, name, interpreter):
            text = f"type object {owner.node.name!r} has no attribute {name!r}"
            return FaultStep(owner.node.lineno, "AttributeError", text, (name,))
    return _find_inputs_fault(owner, interpreter) or _find_outputs_fault(owner, interpreter)


@lru_cache(maxsize=8)
def _has_hidden_code(content: bytes) -> bool:
    return _HIDDEN_CODE.search(content) is not None


def _find_inputs_fault(owner: ClassRef, interpreter: ExpressionEvaluator) -> FaultStep | None:
    value = interpreter.get_class_attribute(owner, _INPUTS)
    if isinstance(value, AbstractDict | AbstractList):
        text = f"{_INPUTS} of {owner.node.name} is not a function"
        return FaultStep(owner.node.lineno, "TypeError", text, (_INPUTS,))
    if not isinstance(value, FuncRef) or not isinstance(value.node, ast.FunctionDef):
        return None
    reason = _find_call_error(value.node)
    if reason:
        return FaultStep(value.node.lineno, "TypeError", f"{_INPUTS} of {owner.node.name} {reason}", (_INPUTS,))
    return _find_result_fault(value.node, owner)


def _find_call_error(function: ast.FunctionDef) -> str:
    """Return why a function cannot be called on its class without arguments; empty when it can."""
    kinds = {mark.id for mark in function.decorator_list if isinstance(mark, ast.Name)}
    if len(kinds) != len(function.decorator_list) or not kinds <= _METHOD_KINDS:
        return ""
    arguments = function.args
    parameters = [*arguments.posonlyargs, *arguments.args]
    required = len(parameters) - len(arguments.defaults)
    if not kinds and required == 1:
        return "lacks @classmethod"
    if "classmethod" in kinds:
        if not parameters and arguments.vararg is None:
            return "is a classmethod without a parameter"
        required = max(required - 1, 0)
    if required or any(default is None for default in arguments.kw_defaults):
        return "needs arguments, and ComfyUI passes none"
    return ""


def _find_result_fault(function: ast.FunctionDef, owner: ClassRef) -> FaultStep | None:
    """Return the error of a result that is not a dict of dicts, as far as every `return` shows it."""
    results, is_generator = _list_results(function.body)
    names = (_INPUTS,)
    if is_generator:
        return None
    if not results:
        # A function that only raises is followed elsewhere.
        if any(isinstance(part, ast.Raise) for part in ast.walk(function)):
            return None
        return FaultStep(function.lineno, "AttributeError", f"{_INPUTS} of {owner.node.name} returns nothing", names)
    if all(isinstance(result, ast.List | ast.Tuple | ast.Set | ast.Constant) for result in results):
        text = f"{_INPUTS} of {owner.node.name} does not return a dict"
        return FaultStep(results[0].lineno, "AttributeError", text, names)
    for result in results:
        if len(results) == 1 and isinstance(result, ast.Dict):
            for value in result.values:
                if isinstance(value, ast.List | ast.Tuple | ast.Set | ast.Constant):
                    text = f"a group of {_INPUTS} of {owner.node.name} is not a dict"
                    return FaultStep(value.lineno, "AttributeError", text, names)
    return None


def _list_results(body: Iterable[ast.AST]) -> tuple[list[ast.expr], bool]:
    """Return the values of the `return` statements of a function, and whether it is a generator."""
    results: list[ast.expr] = []
    is_generator = False
    waiting = list(body)
    while waiting:
        part = waiting.pop()
        match part:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.Lambda():
                continue
            case ast.Return(value=ast.expr() as value):
                results.append(value)
            case ast.Yield() | ast.YieldFrom():
                is_generator = True
        waiting += ast.iter_child_nodes(part)
    return results, is_generator


def _find_outputs_fault(owner: ClassRef, interpreter: ExpressionEvaluator) -> FaultStep | None:
    """Return the error of output types that have no length."""
    value: Value = interpreter.get_class_attribute(owner, _OUTPUTS)
    written = [part.value for part in owner.node.body if isinstance(part, ast.Assign) and _assigns(part, _OUTPUTS)]
    has_length = not written or any(
        not isinstance(node, ast.Constant) or isinstance(node.value, str | bytes) for node in written
    )
    if has_length or isinstance(value, AbstractList) or may_have_attribute(owner, _OUTPUT_LISTS, interpreter):
        return None
    text = f"{_OUTPUTS} of {owner.node.name} is {value!r}, which has no length"
    return FaultStep(owner.node.lineno, "TypeError", text, (_OUTPUTS,))


def _assigns(statement: ast.Assign, name: str) -> bool:
    return any(isinstance(target, ast.Name) and target.id == name for target in statement.targets)
