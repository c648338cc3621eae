"""Statements of a node pack's source, followed for the names they bind, never run."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from comfywatchman.comfyui.static_analysis import builtins
from comfywatchman.comfyui.static_analysis.expressions import MAX_DEPTH, ExpressionEvaluator
from comfywatchman.comfyui.static_analysis.modules import SourceTree
from comfywatchman.comfyui.static_analysis.operators import EXPRESSION_VISITORS, combine_values
from comfywatchman.comfyui.static_analysis.values import (
    UNKNOWN,
    AbstractDict,
    AbstractList,
    ClassRef,
    DeferredImport,
    DeferredValue,
    ExternalName,
    FuncRef,
    ModuleRef,
    NameScope,
    SourceModule,
    Value,
    join_values,
)

MAX_LOOPS: Final = 2_000
"""Rounds of one loop that are followed."""


_MAX_RECURSION: Final = 2
_GLOBALS: Final = "__globals__"


@dataclass(slots=True)
class _CallFrame:
    """What a function has returned so far."""

    returned: list[Value] = field(default_factory=list)


class AbstractInterpreter(ExpressionEvaluator):
    """Follows the statements of a pack's modules and functions."""

    visitors = EXPRESSION_VISITORS

    def __init__(self, tree: SourceTree) -> None:
        super().__init__(tree)
        self.frames: list[_CallFrame] = []
        self.loops = 0
        self.active: list[ast.AST] = []

    def run(self, module: SourceModule) -> NameScope:
        """Return a module's names, its statements read once."""
        if not module.has_run:
            module.has_run = True
            before = self.undecided_depth, self.loops, self.frames
            self.undecided_depth, self.loops, self.frames = 0, 0, []
            self.execute(module.tree.body, module.scope)
            self.undecided_depth, self.loops, self.frames = before
        return module.scope

    def read_class_body(self, owner: ClassRef) -> NameScope:
        """Return a class's own names."""
        if owner.body is None:
            owner.body = NameScope(module=owner.scope.module, parent=owner.scope)
            doubt, self.undecided_depth = self.undecided_depth, 0
            self.execute(owner.node.body, owner.body)
            self.undecided_depth = doubt
            for value in owner.body.names.values():
                if isinstance(value, FuncRef) and value.scope is owner.body:
                    value.scope = NameScope(owner.scope.module, owner.scope, {"__class__": owner})
        return owner.body

    def call_function(self, function: FuncRef, arguments: list[Value], keywords: dict[str, Value]) -> Value:
        """Return what a function of the pack gives: what its `return`s stand for, joined."""
        if self.depth >= MAX_DEPTH or self.steps_left <= 0 or self.active.count(function.node) >= _MAX_RECURSION:
            builtins.taint([*arguments, *keywords.values()])
            return UNKNOWN
        if function.is_bound:
            arguments = [function.bound, *arguments]
        inner = NameScope(module=function.scope.module, parent=function.scope)
        self._bind_arguments(function, arguments, keywords, inner)
        if isinstance(function.node, ast.Lambda):
            return self.evaluate(function.node.body, inner)
        owner = function.scope.names.get("__class__")
        if owner is not None:
            inner.names.update({"__class__": owner, "__first__": arguments[0] if arguments else UNKNOWN})
        frame = _CallFrame()
        self.frames.append(frame)
        self.active.append(function.node)
        self.depth += 1
        try:
            self.execute(function.node.body, inner)
        finally:
            self.depth -= 1
            self.active.pop()
            self.frames.pop()
        return join_values(frame.returned) if frame.returned else None

    def execute(self, body: Sequence[ast.stmt], scope: NameScope) -> bool:
        """Follow statements in order; say whether a `return`, `break`, `continue` or `raise` surely ends them."""
        for statement in body:
            following = _STATEMENT_VISITORS.get(type(statement))
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

    def execute_undecided(self, body: Sequence[ast.stmt], scope: NameScope) -> bool:
        """Follow statements that may or may not happen."""
        self.undecided_depth += 1
        try:
            return self.execute(body, scope)
        finally:
            self.undecided_depth -= 1

    def bind(self, name: str, value: Value, scope: NameScope) -> None:
        """Bind a name; in an undecided branch what it stood for before stays possible."""
        if name in scope.names.get(_GLOBALS, ()):
            scope = scope.module.scope
        before = scope.names.get(name)
        if self.undecided_depth and isinstance(before, AbstractList | AbstractDict):
            kept = before.copy()
            value = join_values([kept, value]) if isinstance(value, AbstractList | AbstractDict) else kept
        elif self.undecided_depth and isinstance(before, str | int | float):
            value = join_values([before, value])
        scope.names[name] = value

    def _give_up(self, scope: NameScope) -> None:
        builtins.taint([value for value in scope.names.values() if isinstance(value, AbstractList | AbstractDict)])
        problem = "the source is too large or too nested to be read in full"
        if problem not in self.tree.problems:
            self.tree.problems.append(problem)

    def _bind_arguments(
        self, function: FuncRef, arguments: list[Value], keywords: dict[str, Value], inner: NameScope
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
            inner.names[shape.vararg.arg] = AbstractList(arguments[len(places) :])
        if shape.kwarg:
            inner.names[shape.kwarg.arg] = AbstractDict({k: v for k, v in keywords.items() if k not in named})


def _visit_assign(reader: AbstractInterpreter, node: ast.Assign, scope: NameScope) -> bool:
    if len(node.targets) == 1 and isinstance(node.targets[0], ast.Name) and _can_defer(reader, node.value):
        name = node.targets[0].id
        if not any(isinstance(part, ast.Name) and part.id == name for part in ast.walk(node.value)):
            scope.names[name] = DeferredValue(node.value, scope)
            return False
    value = reader.evaluate(node.value, scope)
    for target in node.targets:
        _bind_target(reader, target, value, scope)
    return False


def _can_defer(reader: AbstractInterpreter, value: ast.expr) -> bool:
    at_top = not reader.frames and not reader.loops and reader.certain
    return at_top and isinstance(value, ast.Call)


def _bind_target(reader: AbstractInterpreter, target: ast.expr, value: Value, scope: NameScope) -> None:
    if isinstance(target, ast.Name):
        reader.bind(target.id, value, scope)
    else:
        reader.assign(target, value, scope)


def _visit_annotated_assign(reader: AbstractInterpreter, node: ast.AnnAssign, scope: NameScope) -> bool:
    if node.value is not None:
        _bind_target(reader, node.target, reader.evaluate(node.value, scope), scope)
    return False


def _visit_augmented_assign(reader: AbstractInterpreter, node: ast.AugAssign, scope: NameScope) -> bool:
    before = reader.evaluate(node.target, scope)
    value = reader.evaluate(node.value, scope)
    if isinstance(before, AbstractDict) and isinstance(node.op, ast.BitOr):
        before.update(value, certain=reader.certain)
    elif isinstance(before, AbstractList):
        before.extend(builtins.get_elements(value))
    elif isinstance(node.target, ast.Name):
        scope.names[node.target.id] = combine_values(before, node.op, value)
    return False


def _visit_expression(reader: AbstractInterpreter, node: ast.Expr, scope: NameScope) -> bool:
    reader.evaluate(node.value, scope)
    return False


def _visit_return(reader: AbstractInterpreter, node: ast.Return, scope: NameScope) -> bool:
    if reader.frames:
        reader.frames[-1].returned.append(reader.evaluate(node.value, scope) if node.value else None)
    return True


def _visit_end(_reader: AbstractInterpreter, _node: ast.stmt, _scope: NameScope) -> bool:
    return True


def _visit_if(reader: AbstractInterpreter, node: ast.If, scope: NameScope) -> bool:
    if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return reader.execute(node.orelse, scope)
    truth = reader.truth(node.test, scope)
    if truth is not None:
        return reader.execute(node.body if truth else node.orelse, scope)
    first = reader.execute_undecided(node.body, scope)
    second = reader.execute_undecided(node.orelse, scope)
    return first and second


def _visit_for(reader: AbstractInterpreter, node: ast.For | ast.AsyncFor, scope: NameScope) -> bool:
    source = builtins.get_elements(reader.evaluate(node.iter, scope))
    reader.loops += 1
    for value in source.values[:MAX_LOOPS]:
        reader.assign(node.target, value, scope)
        reader.execute(node.body, scope)
    if source.is_open or len(source.values) > MAX_LOOPS:
        reader.assign(node.target, UNKNOWN, scope)
        reader.execute_undecided(node.body, scope)
    reader.loops -= 1
    reader.execute(node.orelse, scope)
    return False


def _visit_while(reader: AbstractInterpreter, node: ast.While, scope: NameScope) -> bool:
    reader.loops += 1
    reader.execute_undecided(node.body, scope)
    reader.loops -= 1
    return False


def _visit_with(reader: AbstractInterpreter, node: ast.With | ast.AsyncWith, scope: NameScope) -> bool:
    for item in node.items:
        if item.optional_vars is not None:
            reader.assign(item.optional_vars, UNKNOWN, scope)
    return reader.execute(node.body, scope)


def _visit_try(reader: AbstractInterpreter, node: ast.Try, scope: NameScope) -> bool:
    ended = reader.execute([*node.body, *node.orelse], scope)
    known = dict(scope.names)
    for handler in node.handlers:
        reader.execute_undecided(
            [part for part in handler.body if isinstance(part, ast.ImportFrom | ast.Import)], scope
        )
    scope.names.update(known)
    for name in _list_assigned_names(node.handlers):
        if isinstance(scope.names.get(name), str | int | float | bool | None):
            scope.names[name] = UNKNOWN
    return reader.execute(node.finalbody, scope) or ended


def _list_assigned_names(handlers: Sequence[ast.ExceptHandler]) -> set[str]:
    parts = (part for handler in handlers for part in ast.walk(handler))
    return {part.id for part in parts if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}


def _visit_global(_reader: AbstractInterpreter, node: ast.Global, scope: NameScope) -> bool:
    scope.names[_GLOBALS] = {*scope.names.get(_GLOBALS, ()), *node.names}
    return False


def _visit_function(
    _reader: AbstractInterpreter, node: ast.FunctionDef | ast.AsyncFunctionDef, scope: NameScope
) -> bool:
    scope.names[node.name] = FuncRef(scope, node)
    return False


def _visit_class(reader: AbstractInterpreter, node: ast.ClassDef, scope: NameScope) -> bool:
    value = ClassRef(scope, node)
    scope.names[node.name] = value
    for mark in reversed(node.decorator_list):
        reader.call(reader.evaluate(mark, scope), [value], {})
    return False


def _visit_import(reader: AbstractInterpreter, node: ast.Import, scope: NameScope) -> bool:
    for alias in node.names:
        whole, _, _ = alias.name.partition(".")
        dotted = alias.name if alias.asname else whole
        module = reader.tree.imported(scope.module, dotted, 0)
        scope.names[alias.asname or whole] = ExternalName(dotted) if module is None else ModuleRef(module)
    return False


def _visit_import_from(reader: AbstractInterpreter, node: ast.ImportFrom, scope: NameScope) -> bool:
    dotted = node.module or ""
    module = reader.tree.imported(scope.module, dotted, node.level)
    for alias in node.names:
        name = alias.asname or alias.name
        if module is None:
            scope.names[name] = ExternalName(f"{dotted}.{alias.name}") if node.level == 0 else UNKNOWN
        elif alias.name == "*":
            _import_star(reader, module, scope)
        else:
            scope.names[name] = DeferredImport(module, alias.name)
    return False


def _import_star(reader: AbstractInterpreter, module: SourceModule, scope: NameScope) -> None:
    names = reader.run(module).names
    listed = reader.force(reader.run(module), "__all__") if "__all__" in names else UNKNOWN
    wanted = listed.values if isinstance(listed, AbstractList) and not listed.is_open else list(names)
    for name in wanted:
        if isinstance(name, str) and (listed is not UNKNOWN or not name.startswith("_")):
            scope.names[name] = DeferredImport(module, name)


def _visit_delete(reader: AbstractInterpreter, node: ast.Delete, scope: NameScope) -> bool:
    for target in node.targets:
        if isinstance(target, ast.Name):
            scope.names.pop(target.id, None)
        elif isinstance(target, ast.Subscript) and isinstance(
            table := reader.evaluate(target.value, scope), AbstractDict
        ):
            key = reader.evaluate(target.slice, scope)
            table.doubtful.update((key,) if isinstance(key, str) else table.entries)
    return False


_STATEMENT_VISITORS: Final[dict[type, Callable[..., bool]]] = {
    ast.Assign: _visit_assign,
    ast.AnnAssign: _visit_annotated_assign,
    ast.AugAssign: _visit_augmented_assign,
    ast.Expr: _visit_expression,
    ast.Return: _visit_return,
    ast.Raise: _visit_end,
    ast.Break: _visit_end,
    ast.Continue: _visit_end,
    ast.If: _visit_if,
    ast.For: _visit_for,
    ast.AsyncFor: _visit_for,
    ast.While: _visit_while,
    ast.With: _visit_with,
    ast.AsyncWith: _visit_with,
    ast.Try: _visit_try,
    ast.FunctionDef: _visit_function,
    ast.AsyncFunctionDef: _visit_function,
    ast.ClassDef: _visit_class,
    ast.Import: _visit_import,
    ast.ImportFrom: _visit_import_from,
    ast.TryStar: _visit_try,
    ast.Delete: _visit_delete,
    ast.Global: _visit_global,
}
