"""Evaluate expressions of a node pack's source to abstract values, without running them."""

from __future__ import annotations

import ast
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final, NamedTuple

from comfywatchman.comfyui.static_analysis import builtins
from comfywatchman.comfyui.static_analysis.modules import AS_INPUT, SourceTree
from comfywatchman.comfyui.static_analysis.paths import CONSTANTS, get_part
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
    EnumMember,
    ExternalName,
    FileSpec,
    FuncRef,
    ModuleRef,
    NameScope,
    NodeSchema,
    PathValue,
    Record,
    SourceModule,
    Value,
    is_constant,
    join_values,
)

MAX_STEPS: Final = 300_000
"""Expressions and statements that are evaluated for one pack (about a second); everything after them is unknown."""

MAX_DEPTH: Final = 120
"""Nested expressions, calls and imports that are followed."""

_BUILTIN: Final = "builtins."
_BUILTINS: Final = frozenset(
    {"dict", "list", "sorted", "set", "tuple", "frozenset", "reversed", "enumerate", "zip", "range", "map", "filter"}
    | {"len", "print", "isinstance", "hasattr", "getattr", "setattr", "type", "id", "str", "repr", "bool", "max", "min"}
    | {"super", "globals", "locals", "vars", "dir", "exec", "__import__"}
)
_SCHEMA_PARTS: Final = frozenset({"node_id", "inputs", "outputs", "is_output_node"})
_MEMBER_PARTS: Final = frozenset({"name", "value"})
_PROPERTY_DECORATORS: Final = frozenset({"property", "cached_property", "classproperty"})


class CallSite(NamedTuple):
    """The call at the top level of a module inside which the evaluation is."""

    module: SourceModule
    line: int
    is_guarded: bool


@dataclass(slots=True)
class CallFrame:
    """The values that a running function has returned so far."""

    returned: list[Value] = field(default_factory=list)


@dataclass(slots=True)
class CodePlace:
    """Where the evaluation is, inside the module that runs at the moment.

    Attributes:
        frames: The functions that run.
        undecided_depth: How many undecided branches surround the place.
        loop_depth: How many loops do.
        guard_depth: How many `try` statements do, at the top level of the module.
        inner_guards: How many do inside functions and loops.
        call_site: The call at the top level inside which the place is.
    """

    frames: list[CallFrame] = field(default_factory=list)
    undecided_depth: int = 0
    loop_depth: int = 0
    guard_depth: int = 0
    inner_guards: int = 0
    call_site: CallSite | None = None

    @property
    def is_nested(self) -> bool:
        """Return whether anything surrounds the place: it is not simply a statement of the module."""
        return bool(self.frames or self.loop_depth or self.guard_depth or self.undecided_depth)

    @property
    def is_guarded(self) -> bool:
        """Return whether a `try` statement surrounds the place."""
        return self.guard_depth + self.inner_guards > 0


class ExpressionEvaluator(ABC):
    """Evaluates expressions; a subclass adds statements and calls of the pack's own functions.

    Args:
        tree: The pack's source.

    Attributes:
        tree: The pack's source.
        steps_left: How many more expressions and statements are followed.
        has_given_up: Whether a part of the source was not followed, because it is too large or too nested.
        depth: How deep the evaluation is nested.
        place: Where it is.
    """

    visitors: ClassVar[Mapping[type[ast.AST], Callable[..., Value]]]
    """The function that evaluates each type of expression."""

    def __init__(self, tree: SourceTree) -> None:
        self.tree = tree
        self.steps_left = MAX_STEPS
        self.has_given_up = False
        self.depth = 0
        self.place = CodePlace()

    @abstractmethod
    def run(self, module: SourceModule) -> NameScope:
        """Execute a module's statements once, and return its names."""

    @abstractmethod
    def read_class_body(self, owner: ClassRef) -> NameScope:
        """Return a class's own names."""

    @abstractmethod
    def call_function(self, function: FuncRef, arguments: list[Value], keywords: dict[str, Value]) -> Value:
        """Return the result of a function of the pack."""

    @abstractmethod
    def build_object(
        self, owner: ClassRef, arguments: list[Value], keywords: dict[str, Value], *, is_whole: bool = True
    ) -> Value:
        """Return an object of a class of the pack; without `is_whole` the call has further arguments."""

    @abstractmethod
    def list_members(self, owner: ClassRef) -> AbstractList | None:
        """Return the members of an enumeration; None for any other class."""

    @property
    def is_certain(self) -> bool:
        """Whether the current statement certainly runs: no undecided branch surrounds it."""
        return self.place.undecided_depth == 0

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
        if name == "__file__" and scope.module.path is not None:
            return os.path.abspath(scope.module.path)
        if name == "__package__":
            return ".".join((ROOT_NAME, *scope.module.package))
        if name in _BUILTINS:
            return ExternalName(f"{_BUILTIN}{name}")
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
        value: Value = UNKNOWN
        match owner:
            case ExternalName():
                dotted = f"{owner.name}.{name}"
                value = CONSTANTS.get(dotted, ExternalName(dotted))
            case ModuleRef():
                value = self._get_module_attribute(owner.module, name)
            case FileSpec() | PathValue() | Record():
                value = get_part(owner, name)
            case NodeSchema() if name in _SCHEMA_PARTS:
                value = getattr(owner, name)
            case ClassInstance() if name in owner.attributes:
                value = owner.attributes[name]
            case ClassRef() | ClassInstance():
                value = self._bind(self.get_class_attribute(_get_class(owner), name), owner)
            case EnumMember():
                value = getattr(owner, name) if name in _MEMBER_PARTS else self.get_attribute(owner.value, name)
            # The only constants with a value of their own are members of enumerations, which stand for their values.
            case str() | int() | float() if name == "value":
                value = owner
            case AbstractList() | AbstractDict() | str():
                value = BoundMethod(owner, name)
        return value

    def _get_module_attribute(self, module: SourceModule, name: str) -> Value:
        if name == "__path__" and module.is_package:
            return AbstractList([os.path.abspath(self.tree.root.joinpath(*module.parts))])
        if name in {"__name__", "__file__"}:
            return self.look_up(name, module.scope)
        return self.get_module_name(module, name)

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
                return self.build_object(function, arguments, keywords)
            case BoundMethod(owner=PathValue() | Record() as owner):
                return self.tree.files.call_method(owner, function.name, arguments)
            case BoundMethod():
                return builtins.call_method(function, arguments, keywords, is_certain=self.is_certain)
            case ExternalName():
                return self._call_external(function.name, arguments, keywords)
        builtins.taint([*arguments, *keywords.values()])
        return UNKNOWN

    def _call_external(self, name: str, arguments: list[Value], keywords: dict[str, Value]) -> Value:
        members = self.tree.find_enumeration(name) if name.endswith(AS_INPUT) else None
        if members is not None:
            return AbstractList(list(members))
        if name.startswith(_BUILTIN):
            arguments = [self._list_members_of(value) for value in arguments]
        value = self.tree.files.call(name, arguments, keywords)
        return builtins.call_external(name, arguments, keywords) if value is UNKNOWN else value

    def call_from(
        self, line: int, module: SourceModule, function: Value, arguments: list[Value], keywords: dict[str, Value]
    ) -> Value:
        """Return the result of a call in a line of a module."""
        place = self.place
        if place.frames:
            return self.call(function, arguments, keywords)
        outer, place.call_site = place.call_site, CallSite(module, line, is_guarded=place.is_guarded)
        try:
            return self.call(function, arguments, keywords)
        finally:
            place.call_site = outer

    def iterate(self, value: Value) -> AbstractList:
        """Return the elements that a loop over a value would visit; an open empty list if they are unknown."""
        return builtins.get_elements(self._list_members_of(value))

    def _list_members_of(self, value: Value) -> Value:
        members = self.list_members(value) if isinstance(value, ClassRef) else None
        return value if members is None else members

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
        elif isinstance(owner, ClassInstance):
            owner.attributes[name] = value if self.is_certain else UNKNOWN


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
