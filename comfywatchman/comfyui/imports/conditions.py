"""Decide conditions that depend on versions, on what is installed, or on what ComfyUI has."""

from __future__ import annotations

import ast
import operator
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from packaging.version import InvalidVersion, Version

Value = Any
"""A text, number, tuple, bool, None, version, or one of the two below."""


class _Special:
    """The type of UNKNOWN and OBJECT."""


UNKNOWN: Final = _Special()
"""A value that cannot be decided."""

OBJECT: Final = _Special()
"""Something that is there and counts as true, of which nothing else is known."""

_OPERATORS: Final[Mapping[type[ast.cmpop], Callable[[Any, Any], Any]]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
}
_CONSTANTS: Final[Mapping[str, str]] = {"__name__": "module", "sys.platform": sys.platform, "os.name": os.name}
"""Names with the same value for every pack on this machine; `__name__` is never `__main__`."""

_VERSION_PARTS: Final[Mapping[str, Callable[[tuple[int, int]], Any]]] = {
    "sys.version_info": lambda version: version,
    "sys.version_info.major": lambda version: version[0],
    "sys.version_info.minor": lambda version: version[1],
}
_FUNCTIONS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "packaging.version.parse": Version,
    "packaging.version.Version": Version,
    "pkg_resources.parse_version": Version,
    "distutils.version.LooseVersion": Version,
    "distutils.version.StrictVersion": Version,
    "tuple": tuple,
    "list": tuple,
    "int": int,
    "str": str,
    "platform.system": lambda _: {"linux": "Linux", "darwin": "Darwin", "win32": "Windows"}.get(sys.platform, UNKNOWN),
}
_FIND_MODULE: Final = frozenset({"importlib.util.find_spec", "importlib.find_loader", "pkgutil.find_loader"})
_READ_VERSION: Final = frozenset({"importlib.metadata.version", "importlib_metadata.version"})


class ConditionFacts(Protocol):
    """What conditions may ask about a host."""

    @property
    def python_version(self) -> tuple[int, int] | None:
        """Major and minor version of ComfyUI's Python; None when it is not known."""

    @property
    def comfyui_version(self) -> str | None:
        """Version of ComfyUI; None when it is not known."""

    def has_module(self, dotted: str) -> bool | None:
        """Return whether a module can be imported; None when that is not known."""

    def has_attribute(self, dotted: str) -> bool | None:
        """Return whether a module of ComfyUI has a name; None when that is not known."""

    def package_version(self, name: str) -> str | None:
        """Return the version of an installed Python package; None when it is not known."""


class ConditionReader:
    """Evaluates conditions against the facts of a host.

    Args:
        facts: The host.
    """

    def __init__(self, facts: ConditionFacts) -> None:
        self._facts = facts
        self._asks_host = False

    def decide(self, test: str) -> tuple[bool | None, bool]:
        """Return the truth of a condition, None when it cannot be decided; and whether it asks about the host."""
        self._asks_host = False
        try:
            value = self._evaluate(ast.parse(test, mode="eval").body)
        except (SyntaxError, ValueError, TypeError, AttributeError, InvalidVersion, RecursionError):
            value = UNKNOWN
        truth = None if value is UNKNOWN else bool(value)
        return truth, self._asks_host

    def _evaluate(self, node: ast.expr) -> Value:
        evaluate = _EVALUATORS.get(type(node))
        return UNKNOWN if evaluate is None else evaluate(self, node)

    def evaluate_constant(self, node: ast.Constant) -> Value:
        """Evaluate a constant."""
        return node.value

    def evaluate_tuple(self, node: ast.Tuple | ast.List) -> Value:
        """Evaluate a tuple or list."""
        values = tuple(self._evaluate(element) for element in node.elts)
        return UNKNOWN if UNKNOWN in values else values

    def evaluate_unary(self, node: ast.UnaryOp) -> Value:
        """Evaluate `not`."""
        value = self._evaluate(node.operand)
        return UNKNOWN if value is UNKNOWN or not isinstance(node.op, ast.Not) else not value

    def evaluate_compare(self, node: ast.Compare) -> Value:
        """Evaluate a comparison of two values."""
        if len(node.ops) != 1:
            return UNKNOWN
        return _compare(self._evaluate(node.left), node.ops[0], self._evaluate(node.comparators[0]))

    def evaluate_subscript(self, node: ast.Subscript) -> Value:
        """Evaluate an element or a slice."""
        return _get_item(self._evaluate(node.value), node.slice)

    def evaluate_bool(self, node: ast.BoolOp) -> Value:
        """Evaluate `and` or `or`, to True or False."""
        is_or = isinstance(node.op, ast.Or)
        is_known = True
        for part in node.values:
            value = self._evaluate(part)
            if value is UNKNOWN:
                is_known = False
            elif bool(value) is is_or:
                return is_or
        return (not is_or) if is_known else UNKNOWN

    def evaluate_name(self, node: ast.Name | ast.Attribute) -> Value:
        """Evaluate a name, possibly with attributes."""
        dotted = get_dotted_name(node)
        if dotted in _CONSTANTS:
            return _CONSTANTS[dotted]
        if dotted in _VERSION_PARTS:
            self._asks_host = True
            version = self._facts.python_version
            return UNKNOWN if version is None else _VERSION_PARTS[dotted](version)
        if not dotted.endswith(".__version__"):
            return UNKNOWN
        self._asks_host = True
        package = dotted.partition(".")[0]
        version_text = self._facts.package_version(package)
        if package == "comfyui_version":
            version_text = self._facts.comfyui_version
        return version_text or UNKNOWN

    def evaluate_call(self, node: ast.Call) -> Value:
        """Evaluate a call of a function or of a method of a text."""
        name = get_dotted_name(node.func)
        if name == "hasattr" and len(node.args) > 1:
            return self._call_hasattr(node.args[0], node.args[1])
        if name == "map" and len(node.args) > 1 and get_dotted_name(node.args[0]) == "int":
            return _to_numbers(self._evaluate(node.args[1]))
        arguments = [self._evaluate(argument) for argument in node.args]
        if UNKNOWN in arguments:
            return UNKNOWN
        if name in _FIND_MODULE | _READ_VERSION | _FUNCTIONS.keys():
            return self._call_function(name, *arguments)
        if isinstance(node.func, ast.Attribute):
            return _call_text_method(self._evaluate(node.func.value), node.func.attr, arguments)
        return UNKNOWN

    def _call_function(self, name: str, subject: Value = "", *_others: Value) -> Value:
        if name in _FUNCTIONS:
            return _FUNCTIONS[name](subject)
        if not isinstance(subject, str):
            return UNKNOWN
        self._asks_host = True
        if name in _READ_VERSION:
            return self._facts.package_version(subject) or UNKNOWN
        answer = self._facts.has_module(subject)
        if answer is None:
            return UNKNOWN
        return OBJECT if answer else None

    def _call_hasattr(self, owner: ast.expr, name: ast.expr) -> Value:
        dotted = get_dotted_name(owner)
        if not dotted or not isinstance(name, ast.Constant) or not isinstance(name.value, str):
            return UNKNOWN
        answer = self._facts.has_attribute(f"{dotted}.{name.value}")
        self._asks_host = self._asks_host or answer is not None
        return UNKNOWN if answer is None else answer

    def evaluate_comprehension(self, node: ast.ListComp | ast.GeneratorExp) -> Value:
        """Evaluate `[int(x) for x in …]`, the one comprehension that versions are read with."""
        generator, *others = node.generators
        if others or generator.ifs or not isinstance(node.elt, ast.Call) or get_dotted_name(node.elt.func) != "int":
            return UNKNOWN
        return _to_numbers(self._evaluate(generator.iter))


def get_dotted_name(node: ast.expr) -> str:
    """Return `a.b.c` for a name with attributes; an empty text for anything else."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=owner, attr=name):
            dotted = get_dotted_name(owner)
            return f"{dotted}.{name}" if dotted else ""
    return ""


def _compare(left: Value, operation: ast.cmpop, right: Value) -> Value:
    if isinstance(operation, ast.Is | ast.IsNot):
        if UNKNOWN in (left, right) or None not in (left, right):
            return UNKNOWN
        return (left is right) is isinstance(operation, ast.Is)
    if UNKNOWN in (left, right) or OBJECT in (left, right):
        return UNKNOWN
    if isinstance(left, tuple) and isinstance(right, tuple):
        return _compare_versions(left, operation, right)
    return _OPERATORS[type(operation)](left, right)


def _compare_versions(left: tuple[Any, ...], operation: ast.cmpop, right: tuple[Any, ...]) -> Value:
    """Compare two tuples; UNKNOWN where only parts that are not known would decide (`sys.version_info` has more)."""
    length = min(len(left), len(right))
    if left[:length] == right[:length] and len(left) != len(right):
        return UNKNOWN
    return _OPERATORS[type(operation)](left, right)


def _get_item(owner: Value, index: ast.expr) -> Value:
    if not isinstance(owner, tuple | str):
        return UNKNOWN
    match index:
        case ast.Constant(value=int() as position) if -len(owner) <= position < len(owner):
            return owner[position]
        case ast.Slice(lower=None, upper=ast.Constant(value=int() as end), step=None) if 0 <= end <= len(owner):
            return owner[:end]
    return UNKNOWN


def _to_numbers(value: Value) -> Value:
    if not isinstance(value, tuple):
        return UNKNOWN
    return tuple(int(part) for part in value)


def _call_text_method(owner: Value, name: str, arguments: list[Value]) -> Value:
    if not isinstance(owner, str):
        return UNKNOWN
    match name, arguments:
        case "split", [str() as separator]:
            return tuple(owner.split(separator))
        case "startswith", [str() as prefix]:
            return owner.startswith(prefix)
        case (("strip" | "lower"), []):
            return owner.strip() if name == "strip" else owner.lower()
        case "lstrip", [str() as characters]:
            return owner.lstrip(characters)
    return UNKNOWN


_EVALUATORS: Final[Mapping[type, Callable[..., Value]]] = {
    ast.Constant: ConditionReader.evaluate_constant,
    ast.Tuple: ConditionReader.evaluate_tuple,
    ast.List: ConditionReader.evaluate_tuple,
    ast.UnaryOp: ConditionReader.evaluate_unary,
    ast.BoolOp: ConditionReader.evaluate_bool,
    ast.Compare: ConditionReader.evaluate_compare,
    ast.Name: ConditionReader.evaluate_name,
    ast.Attribute: ConditionReader.evaluate_name,
    ast.Call: ConditionReader.evaluate_call,
    ast.Subscript: ConditionReader.evaluate_subscript,
    ast.ListComp: ConditionReader.evaluate_comprehension,
    ast.GeneratorExp: ConditionReader.evaluate_comprehension,
}
"""The method that evaluates each type of expression; every other type is unknown."""
