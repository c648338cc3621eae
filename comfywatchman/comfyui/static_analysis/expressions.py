"""Expressions of a node pack's source, read for what they stand for without running them."""

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
    join_values,
)

MAX_STEPS: Final = 300_000
"""Expressions and statements read for one pack; what is left after them stays unknown (about a second)."""

MAX_DEPTH: Final = 120
"""Nested expressions, calls and imports that are followed."""

_BUILTINS: Final = frozenset(
    {"dict", "list", "sorted", "set", "tuple", "frozenset", "reversed", "enumerate", "zip", "range", "map", "filter"}
    | {"len", "print", "isinstance", "hasattr", "getattr", "setattr", "type", "id", "str", "repr", "bool", "max", "min"}
    | {"super", "globals", "locals", "vars", "dir"}
)


_SCHEMA_PARTS: Final = frozenset({"node_id", "inputs"})


class ExpressionEvaluator(ABC):
    """Reads expressions; statements, and calls of the pack's own functions, come from the subclass.

    Args:
        tree: The pack's source.
    """

    visitors: ClassVar[Mapping[type[ast.AST], Callable[..., Value]]]
    """How each kind of expression is read."""

    def __init__(self, tree: SourceTree) -> None:
        self.tree = tree
        self.steps_left = MAX_STEPS
        self.depth = 0
        self.undecided_depth = 0

    @abstractmethod
    def run(self, module: SourceModule) -> NameScope:
        """Return a module's names, its statements read once."""

    @abstractmethod
    def read_class_body(self, owner: ClassRef) -> NameScope:
        """Return a class's own names."""

    @abstractmethod
    def call_function(self, function: FuncRef, arguments: list[Value], keywords: dict[str, Value]) -> Value:
        """Return what a function of the pack gives."""

    @property
    def certain(self) -> bool:
        """Say whether no undecided branch surrounds what is being read."""
        return self.undecided_depth == 0

    def evaluate(self, node: ast.expr | None, scope: NameScope) -> Value:
        """Return what an expression stands for; UNKNOWN when reading cannot tell or the allowance is used up."""
        reading = None if node is None else self.visitors.get(type(node))
        if reading is None or self.steps_left <= 0 or self.depth >= MAX_DEPTH:
            return UNKNOWN
        self.steps_left -= 1
        self.depth += 1
        try:
            return reading(self, node, scope)
        finally:
            self.depth -= 1

    def look_up(self, name: str, scope: NameScope) -> Value:
        """Return what a name stands for; class bodies are not seen from their functions, as in Python."""
        place: NameScope | None = scope
        while place is not None:
            if name in place.names:
                return self.force(place, name)
            place = place.parent
        if name == "__name__":
            return scope.module.dotted
        if name == "__package__":
            return ".".join((ROOT_NAME, *scope.module.package))
        return ExternalName(f"builtins.{name}") if name in _BUILTINS else UNKNOWN

    def force(self, scope: NameScope, name: str) -> Value:
        """Return a name's value, reading a deferred right side or following an import now."""
        value = scope.names[name]
        if isinstance(value, DeferredValue):
            scope.names[name] = UNKNOWN
            value = scope.names[name] = self.evaluate(value.expression, value.scope)
        elif isinstance(value, DeferredImport):
            scope.names[name] = UNKNOWN
            value = scope.names[name] = self.get_module_name(value.module, value.name)
        return value

    def get_module_name(self, module: SourceModule, name: str) -> Value:
        """Return a module's name: its own, else the submodule of that name."""
        if self.depth >= MAX_DEPTH:
            return UNKNOWN
        self.depth += 1
        try:
            names = self.run(module)
            value = self.force(names, name) if name in names.names else UNKNOWN
            if value is not UNKNOWN:
                return value
            below = self.tree.module((*module.parts, name)) if module.is_package else None
            return ModuleRef(below) if below is not None else UNKNOWN
        finally:
            self.depth -= 1

    def get_attribute(self, owner: Value, name: str) -> Value:
        """Return an attribute of a value."""
        if isinstance(owner, ExternalName):
            return ExternalName(f"{owner.name}.{name}")
        if isinstance(owner, ModuleRef):
            return self.get_module_name(owner.module, name)
        if isinstance(owner, ClassRef):
            return self._bind(self.get_class_attribute(owner, name), owner, is_object=False)
        if isinstance(owner, ClassInstance):
            return self._bind(self.get_class_attribute(owner.of, name), owner, is_object=True)
        if isinstance(owner, AbstractList | AbstractDict | str):
            return BoundMethod(owner, name)
        return getattr(owner, name) if isinstance(owner, NodeSchema) and name in _SCHEMA_PARTS else UNKNOWN

    def get_class_attribute(self, owner: ClassRef, name: str) -> Value:
        """Return what a class or its first base that has it says under a name; UNKNOWN when none does."""
        if self.depth >= MAX_DEPTH:
            return UNKNOWN
        self.depth += 1
        try:
            body = self.read_class_body(owner)
            if name in body.names:
                return self.force(body, name)
            if name in {"__name__", "__qualname__"}:
                return owner.node.name
            return self.get_inherited(owner, name)
        finally:
            self.depth -= 1

    def get_inherited(self, owner: ClassRef, name: str) -> Value:
        """Return what the bases of a class say under a name."""
        for base in owner.node.bases:
            found = self.evaluate(base, owner.scope)
            value = self.get_class_attribute(found, name) if isinstance(found, ClassRef) else UNKNOWN
            if value is not UNKNOWN:
                return value
        return UNKNOWN

    def _bind(self, value: Value, owner: ClassRef | ClassInstance, *, is_object: bool) -> Value:
        if not isinstance(value, FuncRef) or value.is_bound or isinstance(value.node, ast.Lambda):
            return value
        marks = {mark.id for mark in value.node.decorator_list if isinstance(mark, ast.Name)}
        if "staticmethod" in marks:
            return value
        if marks & {"property", "cached_property", "classproperty"}:
            return self.call_function(FuncRef(value.scope, value.node, owner, is_bound=True), [], {})
        if is_object or "classmethod" in marks:
            first = owner.of if isinstance(owner, ClassInstance) and "classmethod" in marks else owner
            return FuncRef(value.scope, value.node, first, is_bound=True)
        return value

    def call(self, function: Value, arguments: list[Value], keywords: dict[str, Value]) -> Value:
        """Return what calling a value gives."""
        if isinstance(function, FuncRef):
            return self.call_function(function, arguments, keywords)
        if isinstance(function, ClassRef):
            return ClassInstance(function)
        if isinstance(function, BoundMethod):
            return builtins.call_method(function, arguments, keywords, certain=self.certain)
        if isinstance(function, ExternalName):
            return builtins.call_external(function.name, arguments, keywords)
        builtins.taint([*arguments, *keywords.values()])
        return UNKNOWN

    def import_module(self, name: Value, package: Value, scope: NameScope) -> Value:
        """Return what `importlib.import_module` gives."""
        if not isinstance(name, str):
            return UNKNOWN
        level = len(name) - len(name.lstrip("."))
        inside = isinstance(package, str) and package.partition(".")[0] == ROOT_NAME
        if level and inside:
            name = ".".join((*package.split(".")[: len(package.split(".")) - level + 1], name.lstrip(".")))
            level = 0
        module = self.tree.imported(scope.module, name.lstrip("."), level)
        return ModuleRef(module) if module is not None else UNKNOWN

    def truth(self, node: ast.expr, scope: NameScope) -> bool | None:
        """Decide a condition; None when reading cannot."""
        return decide_truth(self.evaluate(node, scope))

    def assign(self, target: ast.expr, value: Value, scope: NameScope) -> None:
        """Bind a target of an assignment, loop or comprehension."""
        if isinstance(target, ast.Name):
            scope.names[target.id] = value
        elif isinstance(target, ast.Tuple | ast.List):
            known = isinstance(value, AbstractList) and not value.is_open and len(value.values) == len(target.elts)
            for place, element in enumerate(target.elts):
                self.assign(element, value.values[place] if known else UNKNOWN, scope)
        elif isinstance(target, ast.Subscript):
            owner = self.evaluate(target.value, scope)
            if isinstance(owner, AbstractDict):
                owner.put(self.evaluate(target.slice, scope), value, certain=self.certain)
            elif isinstance(owner, AbstractList):
                owner.is_open = True
        elif isinstance(target, ast.Attribute):
            self._assign_attribute(self.evaluate(target.value, scope), target.attr, value)

    def _assign_attribute(self, owner: Value, name: str, value: Value) -> None:
        if isinstance(owner, NodeSchema) and name in _SCHEMA_PARTS:
            setattr(owner, name, value if self.certain else join_values([getattr(owner, name), value]))
        elif isinstance(owner, ClassRef):
            self.read_class_body(owner).names[name] = value if self.certain else UNKNOWN


def decide_truth(value: Value) -> bool | None:
    """Say whether a value counts as true; None when that is not known."""
    if isinstance(value, AbstractList | AbstractDict):
        known = value.values if isinstance(value, AbstractList) else value.entries.keys() - value.doubtful
        may_hold_more = value.is_open or (isinstance(value, AbstractDict) and bool(value.doubtful))
        return True if known else None if may_hold_more else False
    if isinstance(value, str | int | float | bool | None):
        return bool(value)
    return True if isinstance(value, ClassRef | FuncRef | ModuleRef | ClassInstance) else None
