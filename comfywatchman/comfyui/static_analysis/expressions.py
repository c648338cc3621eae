"""Evaluate expressions of a node pack's source to abstract values, without running them."""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, Final

from comfywatchman.comfyui.static_analysis import builtins
from comfywatchman.comfyui.static_analysis.modules import SourceTree
from comfywatchman.comfyui.static_analysis.values import (
    ROOT_NAME,
    UNKNOWN,
    AbstractDict,
    AbstractList,
    BoundMethod,
    ClassInstance,
    ClassRef,
    DeferredImport,
    DeferredValue,
    ExternalName,
    FuncRef,
    ModuleRef,
    NameScope,
    NodeSchema,
    SourceModule,
    Value,
    is_constant,
    join_values,
)

MAX_STEPS: Final = 300_000
"""Expressions and statements that are evaluated for one pack (about a second); everything after them is unknown."""

MAX_DEPTH: Final = 120
"""Nested expressions, calls and imports that are followed."""

_BUILTINS: Final = frozenset(
    {"dict", "list", "sorted", "set", "tuple", "frozenset", "reversed", "enumerate", "zip", "range", "map", "filter"}
    | {"len", "print", "isinstance", "hasattr", "getattr", "setattr", "type", "id", "str", "repr", "bool", "max", "min"}
    | {"super", "globals", "locals", "vars", "dir"}
)
_SCHEMA_PARTS: Final = frozenset({"node_id", "inputs"})
_PROPERTY_DECORATORS: Final = frozenset({"property", "cached_property", "classproperty"})


class ExpressionEvaluator(ABC):
    """Evaluates expressions; a subclass adds statements and calls of the pack's own functions.

    Args:
        tree: The pack's source.
    """

    visitors: ClassVar[Mapping[type[ast.AST], Callable[..., Value]]]
    """The function that evaluates each type of expression."""

    def __init__(self, tree: SourceTree) -> None:
        self.tree = tree
        self.steps_left = MAX_STEPS
        self.depth = 0
        self.undecided_depth = 0

    @abstractmethod
    def run(self, module: SourceModule) -> NameScope:
        """Execute a module's statements once, and return its names."""

    @abstractmethod
    def read_class_body(self, owner: ClassRef) -> NameScope:
        """Return a class's own names."""

    @abstractmethod
    def call_function(self, function: FuncRef, arguments: list[Value], keywords: dict[str, Value]) -> Value:
        """Return the result of a function of the pack."""

    @property
    def is_certain(self) -> bool:
        """Whether the current statement certainly runs: no undecided branch surrounds it."""
        return self.undecided_depth == 0

    def evaluate(self, node: ast.expr | None, scope: NameScope) -> Value:
        """Return the value of an expression; UNKNOWN if it cannot be decided or the steps are used up."""
        if node is None:
            return UNKNOWN
        visit = self.visitors.get(type(node))
        if visit is None or self.steps_left <= 0 or self.depth >= MAX_DEPTH:
            return UNKNOWN
        self.steps_left -= 1
        self.depth += 1
        try:
            return visit(self, node, scope)
        finally:
            self.depth -= 1

    def look_up(self, name: str, scope: NameScope) -> Value:
        """Return the value of a name in a scope or the scopes around it."""
        current: NameScope | None = scope
        while current is not None:
            if name in current.names:
                return self.force(current, name)
            current = current.parent
        if name == "__name__":
            return scope.module.dotted
        if name == "__package__":
            return ".".join((ROOT_NAME, *scope.module.package))
        if name in _BUILTINS:
            return ExternalName(f"builtins.{name}")
        return UNKNOWN

    def force(self, scope: NameScope, name: str) -> Value:
        """Return a name's value, after evaluating it if it was deferred; UNKNOWN for a name that is not bound."""
        value = scope.names.get(name, UNKNOWN)
        if not isinstance(value, DeferredValue | DeferredImport):
            return value
        # A name that depends on itself is unknown while it is evaluated.
        scope.names[name] = UNKNOWN
        if isinstance(value, DeferredValue):
            forced = self.evaluate(value.expression, value.scope)
        else:
            forced = self.get_module_name(value.module, value.name)
        scope.names[name] = forced
        return forced

    def get_module_name(self, module: SourceModule, name: str) -> Value:
        """Return a module's name; where it has none, the submodule of that name."""
        if self.depth >= MAX_DEPTH:
            return UNKNOWN
        self.depth += 1
        try:
            value = self.force(self.run(module), name)
            if value is not UNKNOWN or not module.is_package:
                return value
            return _refer_to(self.tree.get_module((*module.parts, name)))
        finally:
            self.depth -= 1

    def get_attribute(self, owner: Value, name: str) -> Value:
        """Return an attribute of a value."""
        match owner:
            case ExternalName():
                return ExternalName(f"{owner.name}.{name}")
            case ModuleRef():
                return self.get_module_name(owner.module, name)
            case ClassRef() | ClassInstance():
                return self._bind(self.get_class_attribute(_get_class(owner), name), owner)
            case AbstractList() | AbstractDict() | str():
                return BoundMethod(owner, name)
            case NodeSchema() if name in _SCHEMA_PARTS:
                return getattr(owner, name)
        return UNKNOWN

    def get_class_attribute(self, owner: ClassRef, name: str) -> Value:
        """Return the attribute of a class or of the first base that has it, unbound."""
        if self.depth >= MAX_DEPTH:
            return UNKNOWN
        self.depth += 1
        try:
            body = self.read_class_body(owner)
            if name in body.names:
                return self.force(body, name)
            if name in {"__name__", "__qualname__"}:
                return owner.node.name
            return self.get_base_attribute(owner, name)
        finally:
            self.depth -= 1

    def get_base_attribute(self, owner: ClassRef, name: str) -> Value:
        """Return the attribute of the first base of a class that has it."""
        for base in owner.node.bases:
            base_class = self.evaluate(base, owner.scope)
            if isinstance(base_class, ClassRef):
                value = self.get_class_attribute(base_class, name)
                if value is not UNKNOWN:
                    return value
        return UNKNOWN

    def _bind(self, value: Value, owner: ClassRef | ClassInstance) -> Value:
        """Bind a method to its class or object, as its decorators ask for."""
        if not isinstance(value, FuncRef) or value.is_bound or isinstance(value.node, ast.Lambda):
            return value
        decorators = {mark.id for mark in value.node.decorator_list if isinstance(mark, ast.Name)}
        if "staticmethod" in decorators:
            return value
        if not decorators.isdisjoint(_PROPERTY_DECORATORS):
            return self.call_function(FuncRef(value.scope, value.node, owner, is_bound=True), [], {})
        if "classmethod" in decorators:
            return FuncRef(value.scope, value.node, _get_class(owner), is_bound=True)
        if isinstance(owner, ClassInstance):
            return FuncRef(value.scope, value.node, owner, is_bound=True)
        # A method taken from its class stays a plain function.
        return value

    def call(self, function: Value, arguments: list[Value], keywords: dict[str, Value]) -> Value:
        """Return the result of calling a value."""
        match function:
            case FuncRef():
                return self.call_function(function, arguments, keywords)
            case ClassRef():
                return ClassInstance(function)
            case BoundMethod():
                return builtins.call_method(function, arguments, keywords, is_certain=self.is_certain)
            case ExternalName():
                return builtins.call_external(function.name, arguments, keywords)
        builtins.taint([*arguments, *keywords.values()])
        return UNKNOWN

    def import_module(self, name: Value, package: Value, scope: NameScope) -> Value:
        """Return the module that `importlib.import_module(name, package)` imports."""
        if not isinstance(name, str):
            return UNKNOWN
        dotted = name.lstrip(".")
        level = len(name) - len(dotted)
        if level and isinstance(package, str) and package.partition(".")[0] == ROOT_NAME:
            # Relative to the package that is passed, not to the module with the call.
            parents = package.split(".")
            dotted = ".".join((*parents[: len(parents) - level + 1], dotted))
            level = 0
        return _refer_to(self.tree.resolve_import(scope.module, dotted, level))

    def decide(self, node: ast.expr, scope: NameScope) -> bool | None:
        """Return the truth of a condition; None if it cannot be decided."""
        return decide_truth(self.evaluate(node, scope))

    def assign(self, target: ast.expr, value: Value, scope: NameScope) -> None:
        """Assign to a target of an assignment, loop or comprehension."""
        match target:
            case ast.Name():
                scope.names[target.id] = value
            case ast.Tuple() | ast.List():
                self._unpack(target.elts, value, scope)
            case ast.Subscript():
                owner = self.evaluate(target.value, scope)
                if isinstance(owner, AbstractDict):
                    owner.put(self.evaluate(target.slice, scope), value, is_certain=self.is_certain)
                elif isinstance(owner, AbstractList):
                    owner.is_open = True
            case ast.Attribute():
                self._assign_attribute(self.evaluate(target.value, scope), target.attr, value)

    def _unpack(self, targets: list[ast.expr], value: Value, scope: NameScope) -> None:
        elements: list[Value] = [UNKNOWN] * len(targets)
        if isinstance(value, AbstractList) and not value.is_open and len(value.values) == len(targets):
            elements = value.values
        for target, element in zip(targets, elements, strict=True):
            self.assign(target, element, scope)

    def _assign_attribute(self, owner: Value, name: str, value: Value) -> None:
        if isinstance(owner, NodeSchema) and name in _SCHEMA_PARTS:
            if not self.is_certain:
                value = join_values([getattr(owner, name), value])
            setattr(owner, name, value)
        elif isinstance(owner, ClassRef):
            # In an undecided branch either value is possible.
            self.read_class_body(owner).names[name] = value if self.is_certain else UNKNOWN


def decide_truth(value: Value) -> bool | None:
    """Return whether a value counts as true; None if that is unknown."""
    if is_constant(value):
        return bool(value)
    if isinstance(value, ClassRef | FuncRef | ModuleRef | ClassInstance):
        return True
    if isinstance(value, AbstractList):
        return decide_any(has_known=bool(value.values), may_have_others=value.is_open)
    if isinstance(value, AbstractDict):
        has_known = bool(value.entries.keys() - value.possible_keys)
        return decide_any(has_known=has_known, may_have_others=value.is_open or bool(value.possible_keys))
    return None


def decide_any(*, has_known: bool, may_have_others: bool) -> bool | None:
    """Return whether a collection has a fitting element: True if one is known, None if others may exist."""
    if not has_known and may_have_others:
        return None
    return has_known


def _refer_to(module: SourceModule | None) -> Value:
    return UNKNOWN if module is None else ModuleRef(module)


def _get_class(owner: ClassRef | ClassInstance) -> ClassRef:
    return owner.of if isinstance(owner, ClassInstance) else owner
