"""Fold expressions of constants and of the pack's own paths, and find the errors that they certainly raise."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from comfywatchman.comfyui.static_analysis.faults.name_uses import NameUses
from comfywatchman.comfyui.static_analysis.outline_names import NameTable
from comfywatchman.comfyui.static_analysis.paths import PackFiles, get_path_attribute, join_path
from comfywatchman.comfyui.static_analysis.values import UNKNOWN, AbstractList, PathValue, Value

_MAX_DEPTH: Final = 12
_MAX_LENGTH: Final = 10_000
_MAX_NUMBER: Final = 1 << 62
_PLAIN: Final = (int, float, bool, str, list, tuple, type(None))
"""Types whose operators are those of Python itself."""

_OPERATORS: Final[Mapping[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_CONVERSIONS: Final[Mapping[str, Callable[[Any], Any]]] = {"int": int, "float": float, "len": len}


class FoldedError(Exception):
    """An error that an expression raises when it is evaluated."""

    def __init__(self, error: str, text: str) -> None:
        super().__init__(text)
        self.error = error
        self.text = text


class ConstantFolder:
    """Folds expressions of one module or function.

    Args:
        table: What its names stand for.
        uses: How the module uses its names.
        files: The files of the pack.
        path: The file of the module; None when it has none.

    Attributes:
        used_names: The names that the last expressions were made of.
        has_mutable: Whether the value of one of these is a list or dict.
    """

    def __init__(self, table: NameTable, uses: NameUses, files: PackFiles, path: str | None) -> None:
        self._table = table
        self._uses = uses
        self._files = files
        self._path = path
        self._depth = 0
        self.used_names: set[str] = set()
        self.has_mutable = False

    def fold(self, node: ast.expr) -> Value:
        """Return the value of an expression; UNKNOWN when it is not constant, or raises an error."""
        try:
            return self.evaluate(node)
        except FoldedError:
            return UNKNOWN

    def evaluate(self, node: ast.expr) -> Value:
        """Return the value of an expression; UNKNOWN when it is not constant.

        Raises:
            FoldedError: Its evaluation raises an error, although its parts do not.
        """
        evaluate = _EVALUATORS.get(type(node))
        if evaluate is None or self._depth >= _MAX_DEPTH:
            return UNKNOWN
        self._depth += 1
        try:
            return evaluate(self, node)
        finally:
            self._depth -= 1

    def evaluate_constant(self, node: ast.Constant) -> Value:
        """Evaluate a constant."""
        return node.value if isinstance(node.value, _PLAIN) else UNKNOWN

    def evaluate_name(self, node: ast.Name) -> Value:
        """Evaluate a name that is bound once, in one place."""
        if node.id == "__file__" and self._path is not None:
            return self._path
        definition = self._table.definitions.get(node.id)
        if definition is None or self._uses.bindings[node.id] != 1:
            return UNKNOWN
        value = self.fold(definition)
        if isinstance(value, list | dict):
            if node.id in self._uses.exposed:
                return UNKNOWN
            self.has_mutable = True
        self.used_names.add(node.id)
        return value

    def evaluate_sequence(self, node: ast.List | ast.Tuple) -> Value:
        """Evaluate a list or tuple; its elements may be unknown."""
        if any(isinstance(element, ast.Starred) for element in node.elts):
            return UNKNOWN
        values = [self.fold(element) for element in node.elts]
        return values if isinstance(node, ast.List) else tuple(values)

    def evaluate_dict(self, node: ast.Dict) -> Value:
        """Evaluate a dict; its values may be unknown, its keys may not."""
        table: dict[Value, Value] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            folded = UNKNOWN if key is None else self.fold(key)
            if not isinstance(folded, str | int | float):
                return UNKNOWN
            table[folded] = self.fold(value)
        return table

    def evaluate_subscript(self, node: ast.Subscript) -> Value:
        """Evaluate an element of a list, tuple, dict or text."""
        owner, key = self.fold(node.value), self.fold(node.slice)
        if owner is None:
            raise FoldedError("TypeError", "'NoneType' object is not subscriptable")
        if not isinstance(owner, list | tuple | dict | str) or not isinstance(key, str | int | float):
            return UNKNOWN
        try:
            value = owner[key]  # type: ignore[index]
        except (KeyError, IndexError, TypeError) as error:
            raise FoldedError(type(error).__name__, _describe_error(error)) from None
        # Whether something changes an inner list or dict is not looked at.
        return UNKNOWN if isinstance(value, list | dict) else value

    def evaluate_operation(self, node: ast.BinOp) -> Value:
        """Evaluate an operator between two values."""
        left, right = self.fold(node.left), self.fold(node.right)
        if isinstance(left, PathValue) or isinstance(right, PathValue):
            return join_path(left, right) if isinstance(node.op, ast.Div) else UNKNOWN
        apply = _OPERATORS.get(type(node.op))
        if apply is None or not _is_small(left) or not _is_small(right):
            return UNKNOWN
        # `%` formats a text, and `*` repeats one.
        is_numeric = isinstance(left, int | float) and isinstance(right, int | float)
        if isinstance(node.op, ast.Mod | ast.Mult) and not is_numeric:
            return UNKNOWN
        try:
            return apply(left, right)
        except (ArithmeticError, TypeError) as error:
            raise FoldedError(type(error).__name__, _describe_error(error)) from None

    def evaluate_sign(self, node: ast.UnaryOp) -> Value:
        """Evaluate `-x`."""
        value = self.fold(node.operand)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return -value if is_number and isinstance(node.op, ast.USub) else UNKNOWN

    def evaluate_attribute(self, node: ast.Attribute) -> Value:
        """Evaluate an attribute of a path; None has none."""
        owner = self.fold(node.value)
        if owner is None and not hasattr(None, node.attr):
            raise FoldedError("AttributeError", f"'NoneType' object has no attribute {node.attr!r}")
        return get_path_attribute(owner, node.attr) if isinstance(owner, PathValue) else UNKNOWN

    def evaluate_call(self, node: ast.Call) -> Value:
        """Evaluate a conversion of a constant, or a function of paths."""
        if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
            return UNKNOWN
        arguments = [self.fold(argument) for argument in node.args]
        dotted = self._table.get_dotted_name(node.func)
        if dotted is not None:
            return _drop_listing(self._files.call(dotted, list(arguments), {}))
        if isinstance(node.func, ast.Attribute):
            owner = self.fold(node.func.value)
            if isinstance(owner, PathValue):
                return _drop_listing(self._files.call_method(owner, node.func.attr, list(arguments)))
            return UNKNOWN
        return self._convert(node.func, arguments)

    def _convert(self, function: ast.expr, arguments: list[Value]) -> Value:
        if not isinstance(function, ast.Name) or len(arguments) != 1 or not _is_small(arguments[0]):
            return UNKNOWN
        convert = _CONVERSIONS.get(function.id)
        if convert is None or self._uses.bindings[function.id]:
            return UNKNOWN
        try:
            return convert(arguments[0])
        except (TypeError, ValueError, OverflowError) as error:
            raise FoldedError(type(error).__name__, _describe_error(error)) from None


def _is_small(value: Value) -> bool:
    """Return whether Python itself may compute with a value without spending much time."""
    if isinstance(value, str | list | tuple):
        return len(value) <= _MAX_LENGTH
    if isinstance(value, int | float):
        return abs(value) < _MAX_NUMBER
    return value is None


def _drop_listing(value: Value) -> Value:
    # What a folder holds may change until ComfyUI starts.
    return UNKNOWN if isinstance(value, AbstractList | bool) else value


def _describe_error(error: Exception) -> str:
    return f"key {error}" if isinstance(error, KeyError) else str(error)


_EVALUATORS: Final[Mapping[type, Callable[..., Value]]] = {
    ast.Constant: ConstantFolder.evaluate_constant,
    ast.Name: ConstantFolder.evaluate_name,
    ast.List: ConstantFolder.evaluate_sequence,
    ast.Tuple: ConstantFolder.evaluate_sequence,
    ast.Dict: ConstantFolder.evaluate_dict,
    ast.Subscript: ConstantFolder.evaluate_subscript,
    ast.BinOp: ConstantFolder.evaluate_operation,
    ast.UnaryOp: ConstantFolder.evaluate_sign,
    ast.Attribute: ConstantFolder.evaluate_attribute,
    ast.Call: ConstantFolder.evaluate_call,
}
"""The method that evaluates each type of expression; every other type is unknown."""
