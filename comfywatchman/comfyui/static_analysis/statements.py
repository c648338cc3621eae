"""Statements of a node pack's source, followed for the names they bind, never run."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from comfywatchman.comfyui.static_analysis import builtins
from comfywatchman.comfyui.static_analysis.expressions import MAX_DEPTH, Expressions
from comfywatchman.comfyui.static_analysis.modules import SourceTree
from comfywatchman.comfyui.static_analysis.operators import READINGS, combine
from comfywatchman.comfyui.static_analysis.values import (
    UNKNOWN,
    ClassRef,
    Deferred,
    External,
    FuncRef,
    Import,
    Items,
    Module,
    ModuleRef,
    Scope,
    Table,
    Value,
    join,
)

MAX_LOOPS: Final = 2_000
"""Rounds of one loop that are followed."""


_MAX_RECURSION: Final = 2
_GLOBALS: Final = "__globals__"


@dataclass(slots=True)
class _Frame:
    """What a function has returned so far."""

    returned: list[Value] = field(default_factory=list)


class Reader(Expressions):
    """Follows the statements of a pack's modules and functions."""

    readings = READINGS

    def __init__(self, tree: SourceTree) -> None:
        super().__init__(tree)
        self.frames: list[_Frame] = []
        self.loops = 0
        self.active: list[ast.AST] = []

    def run(self, module: Module) -> Scope:
        """Return a module's names, its statements read once."""
        if not module.has_run:
            module.has_run = True
            before = self.doubt, self.loops, self.frames
            self.doubt, self.loops, self.frames = 0, 0, []
            self.execute(module.tree.body, module.scope)
            self.doubt, self.loops, self.frames = before
        return module.scope

    def body_of(self, owner: ClassRef) -> Scope:
        """Return a class's own names."""
        if owner.body is None:
            owner.body = Scope(module=owner.scope.module, parent=owner.scope)
            doubt, self.doubt = self.doubt, 0
            self.execute(owner.node.body, owner.body)
            self.doubt = doubt
            for value in owner.body.names.values():
                if isinstance(value, FuncRef) and value.scope is owner.body:
                    value.scope = Scope(owner.scope.module, owner.scope, {"__class__": owner})
        return owner.body

    def call_function(self, function: FuncRef, arguments: list[Value], keywords: dict[str, Value]) -> Value:
        """Return what a function of the pack gives: what its `return`s stand for, joined."""
        if self.depth >= MAX_DEPTH or self.steps_left <= 0 or self.active.count(function.node) >= _MAX_RECURSION:
            builtins.leave_open([*arguments, *keywords.values()])
            return UNKNOWN
        if function.is_bound:
            arguments = [function.bound, *arguments]
        inner = Scope(module=function.scope.module, parent=function.scope)
        self._bind_arguments(function, arguments, keywords, inner)
        if isinstance(function.node, ast.Lambda):
            return self.evaluate(function.node.body, inner)
        owner = function.scope.names.get("__class__")
        if owner is not None:
            inner.names.update({"__class__": owner, "__first__": arguments[0] if arguments else UNKNOWN})
        frame = _Frame()
        self.frames.append(frame)
        self.active.append(function.node)
        self.depth += 1
        try:
            self.execute(function.node.body, inner)
        finally:
            self.depth -= 1
            self.active.pop()
            self.frames.pop()
        return join(frame.returned) if frame.returned else None

    def execute(self, body: Sequence[ast.stmt], scope: Scope) -> bool:
        """Follow statements in order; say whether a `return`, `break`, `continue` or `raise` surely ends them."""
        for statement in body:
            following = _FOLLOWING.get(type(statement))
            if following is None:
                continue
            if self.steps_left <= 0 or self.depth >= MAX_DEPTH:
                self._give_up(scope)
                return True
            self.steps_left -= 1
            self.depth += 1
            try:
                if following(self, statement, scope):
                    return True
            finally:
                self.depth -= 1
        return False

    def doubtfully(self, body: Sequence[ast.stmt], scope: Scope) -> bool:
        """Follow statements that may or may not happen."""
        self.doubt += 1
        try:
            return self.execute(body, scope)
        finally:
            self.doubt -= 1

    def bind(self, name: str, value: Value, scope: Scope) -> None:
        """Bind a name; in an undecided branch what it stood for before stays possible."""
        if name in scope.names.get(_GLOBALS, ()):
            scope = scope.module.scope
        before = scope.names.get(name)
        if self.doubt and isinstance(before, Items | Table):
            kept = before.copy()
            value = join([kept, value]) if isinstance(value, Items | Table) else kept
        elif self.doubt and isinstance(before, str | int | float):
            value = join([before, value])
        scope.names[name] = value

    def _give_up(self, scope: Scope) -> None:
        builtins.leave_open([value for value in scope.names.values() if isinstance(value, Items | Table)])
        problem = "the source is too large or too nested to be read in full"
        if problem not in self.tree.problems:
            self.tree.problems.append(problem)

    def _bind_arguments(
        self, function: FuncRef, arguments: list[Value], keywords: dict[str, Value], inner: Scope
    ) -> None:
        shape = function.node.args
        places = [*shape.posonlyargs, *shape.args]
        for argument, default in zip(reversed(places), reversed(shape.defaults), strict=False):
            inner.names[argument.arg] = self.evaluate(default, function.scope)
        for argument, named_default in zip(shape.kwonlyargs, shape.kw_defaults, strict=True):
            inner.names[argument.arg] = self.evaluate(named_default, function.scope)
        for argument, value in zip(places, arguments, strict=False):
            inner.names[argument.arg] = value
        named = {argument.arg for argument in (*places, *shape.kwonlyargs)}
        inner.names.update({key: value for key, value in keywords.items() if key in named})
        if shape.vararg:
            inner.names[shape.vararg.arg] = Items(arguments[len(places) :])
        if shape.kwarg:
            inner.names[shape.kwarg.arg] = Table({k: v for k, v in keywords.items() if k not in named})


def _assign(reader: Reader, node: ast.Assign, scope: Scope) -> bool:
    if len(node.targets) == 1 and isinstance(node.targets[0], ast.Name) and _may_wait(reader, node.value):
        name = node.targets[0].id
        if not any(isinstance(part, ast.Name) and part.id == name for part in ast.walk(node.value)):
            scope.names[name] = Deferred(node.value, scope)
            return False
    value = reader.evaluate(node.value, scope)
    for target in node.targets:
        _assign_to(reader, target, value, scope)
    return False


def _may_wait(reader: Reader, value: ast.expr) -> bool:
    at_top = not reader.frames and not reader.loops and reader.certain
    return at_top and isinstance(value, ast.Call)


def _assign_to(reader: Reader, target: ast.expr, value: Value, scope: Scope) -> None:
    if isinstance(target, ast.Name):
        reader.bind(target.id, value, scope)
    else:
        reader.assign(target, value, scope)


def _annotated(reader: Reader, node: ast.AnnAssign, scope: Scope) -> bool:
    if node.value is not None:
        _assign_to(reader, node.target, reader.evaluate(node.value, scope), scope)
    return False


def _augmented(reader: Reader, node: ast.AugAssign, scope: Scope) -> bool:
    before = reader.evaluate(node.target, scope)
    value = reader.evaluate(node.value, scope)
    if isinstance(before, Table) and isinstance(node.op, ast.BitOr):
        before.update(value, certain=reader.certain)
    elif isinstance(before, Items):
        before.extend(builtins.elements(value))
    elif isinstance(node.target, ast.Name):
        scope.names[node.target.id] = combine(before, node.op, value)
    return False


def _expression(reader: Reader, node: ast.Expr, scope: Scope) -> bool:
    reader.evaluate(node.value, scope)
    return False


def _return(reader: Reader, node: ast.Return, scope: Scope) -> bool:
    if reader.frames:
        reader.frames[-1].returned.append(reader.evaluate(node.value, scope) if node.value else None)
    return True


def _ends(_reader: Reader, _node: ast.stmt, _scope: Scope) -> bool:
    return True


def _if(reader: Reader, node: ast.If, scope: Scope) -> bool:
    if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return reader.execute(node.orelse, scope)
    truth = reader.truth(node.test, scope)
    if truth is not None:
        return reader.execute(node.body if truth else node.orelse, scope)
    first = reader.doubtfully(node.body, scope)
    second = reader.doubtfully(node.orelse, scope)
    return first and second


def _for(reader: Reader, node: ast.For | ast.AsyncFor, scope: Scope) -> bool:
    source = builtins.elements(reader.evaluate(node.iter, scope))
    reader.loops += 1
    for value in source.values[:MAX_LOOPS]:
        reader.assign(node.target, value, scope)
        reader.execute(node.body, scope)
    if source.is_open or len(source.values) > MAX_LOOPS:
        reader.assign(node.target, UNKNOWN, scope)
        reader.doubtfully(node.body, scope)
    reader.loops -= 1
    reader.execute(node.orelse, scope)
    return False


def _while(reader: Reader, node: ast.While, scope: Scope) -> bool:
    reader.loops += 1
    reader.doubtfully(node.body, scope)
    reader.loops -= 1
    return False


def _with(reader: Reader, node: ast.With | ast.AsyncWith, scope: Scope) -> bool:
    for item in node.items:
        if item.optional_vars is not None:
            reader.assign(item.optional_vars, UNKNOWN, scope)
    return reader.execute(node.body, scope)


def _try(reader: Reader, node: ast.Try, scope: Scope) -> bool:
    ended = reader.execute([*node.body, *node.orelse], scope)
    known = dict(scope.names)
    for handler in node.handlers:
        reader.doubtfully([part for part in handler.body if isinstance(part, ast.ImportFrom | ast.Import)], scope)
    scope.names.update(known)
    for name in _assigned(node.handlers):
        if isinstance(scope.names.get(name), str | int | float | bool | None):
            scope.names[name] = UNKNOWN
    return reader.execute(node.finalbody, scope) or ended


def _assigned(handlers: Sequence[ast.ExceptHandler]) -> set[str]:
    parts = (part for handler in handlers for part in ast.walk(handler))
    return {part.id for part in parts if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}


def _global(_reader: Reader, node: ast.Global, scope: Scope) -> bool:
    scope.names[_GLOBALS] = {*scope.names.get(_GLOBALS, ()), *node.names}
    return False


def _function(_reader: Reader, node: ast.FunctionDef | ast.AsyncFunctionDef, scope: Scope) -> bool:
    scope.names[node.name] = FuncRef(scope, node)
    return False


def _class(reader: Reader, node: ast.ClassDef, scope: Scope) -> bool:
    value = ClassRef(scope, node)
    scope.names[node.name] = value
    for mark in reversed(node.decorator_list):
        reader.call(reader.evaluate(mark, scope), [value], {})
    return False


def _import(reader: Reader, node: ast.Import, scope: Scope) -> bool:
    for alias in node.names:
        whole, _, _ = alias.name.partition(".")
        dotted = alias.name if alias.asname else whole
        module = reader.tree.imported(scope.module, dotted, 0)
        scope.names[alias.asname or whole] = External(dotted) if module is None else ModuleRef(module)
    return False


def _import_from(reader: Reader, node: ast.ImportFrom, scope: Scope) -> bool:
    dotted = node.module or ""
    module = reader.tree.imported(scope.module, dotted, node.level)
    for alias in node.names:
        name = alias.asname or alias.name
        if module is None:
            scope.names[name] = External(f"{dotted}.{alias.name}") if node.level == 0 else UNKNOWN
        elif alias.name == "*":
            _import_all(reader, module, scope)
        else:
            scope.names[name] = Import(module, alias.name)
    return False


def _import_all(reader: Reader, module: Module, scope: Scope) -> None:
    names = reader.run(module).names
    listed = reader.settle(reader.run(module), "__all__") if "__all__" in names else UNKNOWN
    wanted = listed.values if isinstance(listed, Items) and not listed.is_open else list(names)
    for name in wanted:
        if isinstance(name, str) and (listed is not UNKNOWN or not name.startswith("_")):
            scope.names[name] = Import(module, name)


def _delete(reader: Reader, node: ast.Delete, scope: Scope) -> bool:
    for target in node.targets:
        if isinstance(target, ast.Name):
            scope.names.pop(target.id, None)
        elif isinstance(target, ast.Subscript) and isinstance(table := reader.evaluate(target.value, scope), Table):
            key = reader.evaluate(target.slice, scope)
            table.doubtful.update((key,) if isinstance(key, str) else table.entries)
    return False


_FOLLOWING: Final[dict[type, Callable[..., bool]]] = {
    ast.Assign: _assign,
    ast.AnnAssign: _annotated,
    ast.AugAssign: _augmented,
    ast.Expr: _expression,
    ast.Return: _return,
    ast.Raise: _ends,
    ast.Break: _ends,
    ast.Continue: _ends,
    ast.If: _if,
    ast.For: _for,
    ast.AsyncFor: _for,
    ast.While: _while,
    ast.With: _with,
    ast.AsyncWith: _with,
    ast.Try: _try,
    ast.FunctionDef: _function,
    ast.AsyncFunctionDef: _function,
    ast.ClassDef: _class,
    ast.Import: _import,
    ast.ImportFrom: _import_from,
    ast.TryStar: _try,
    ast.Delete: _delete,
    ast.Global: _global,
}
