"""Abstract interpretation of statements: follow a pack's modules and functions for the names that they bind."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from comfywatchman.comfyui.static_analysis import builtins
from comfywatchman.comfyui.static_analysis.comprehensions import list_lengths, mark_listed_files
from comfywatchman.comfyui.static_analysis.expressions import (
    MAX_DEPTH,
    CallFrame,
    CodePlace,
    ExpressionEvaluator,
)
from comfywatchman.comfyui.static_analysis.guarded_keys import (
    add_marks,
    list_dict_keys,
    list_handler_targets,
    mark_emptied_keys,
    mark_new_keys,
)
from comfywatchman.comfyui.static_analysis.imports import visit_import, visit_import_from
from comfywatchman.comfyui.static_analysis.modules import SourceTree
from comfywatchman.comfyui.static_analysis.objects.arguments import bind_arguments
from comfywatchman.comfyui.static_analysis.objects.enumerations import list_members
from comfywatchman.comfyui.static_analysis.objects.instances import build_object
from comfywatchman.comfyui.static_analysis.operators import EXPRESSION_VISITORS, combine_values
from comfywatchman.comfyui.static_analysis.values import (
    UNKNOWN,
    AbstractDict,
    AbstractList,
    ClassRef,
    DeferredValue,
    ExternalName,
    FuncRef,
    NameScope,
    SourceModule,
    Value,
    is_constant,
    join_values,
    join_with_previous,
)

MAX_LOOPS: Final = 2_000
"""Iterations of one loop that are followed."""

_MAX_RECURSION: Final = 2
_LOADERS: Final = frozenset({"import_module", "__import__", "load_module", "load_source", "run_path"})
_GLOBALS: Final = "__globals__"
"""The name under which a scope keeps the names of its `global` statements."""


class AbstractInterpreter(ExpressionEvaluator):
    """Executes the statements of a pack's modules and functions on abstract values."""

    visitors = EXPRESSION_VISITORS

    def __init__(self, tree: SourceTree) -> None:
        super().__init__(tree)
        self.active: list[ast.AST] = []

    def run(self, module: SourceModule) -> NameScope:
        """Execute a module's statements once, and return its names."""
        if not module.has_run:
            # Set before the statements run, so that an import cycle ends here.
            module.has_run = True
            outer, self.place = self.place, CodePlace()
            self.execute(module.tree.body, module.scope)
            self.place = outer
        return module.scope

    def read_class_body(self, owner: ClassRef) -> NameScope:
        """Return a class's own names, after executing its body once."""
        if owner.body is None:
            owner.body = NameScope(module=owner.scope.module, parent=owner.scope)
            undecided_depth, self.place.undecided_depth = self.place.undecided_depth, 0
            self.execute(owner.node.body, owner.body)
            self.place.undecided_depth = undecided_depth
            # Methods do not see the names of their class; they see the class itself, for `super()`.
            for value in owner.body.names.values():
                if isinstance(value, FuncRef) and value.scope is owner.body:
                    value.scope = NameScope(owner.scope.module, owner.scope, {"__class__": owner})
        return owner.body

    def call_function(self, function: FuncRef, arguments: list[Value], keywords: dict[str, Value]) -> Value:
        """Return the join of all values that a function of the pack may return."""
        is_recursive = self.active.count(function.node) >= _MAX_RECURSION
        if is_recursive or self.depth >= MAX_DEPTH or self.steps_left <= 0:
            builtins.taint([*arguments, *keywords.values()])
            return UNKNOWN
        if function.is_bound:
            arguments = [function.bound, *arguments]
        scope = NameScope(module=function.scope.module, parent=function.scope)
        bind_arguments(self, function, arguments, keywords, scope)
        if isinstance(function.node, ast.Lambda):
            return self.evaluate(function.node.body, scope)
        owner = function.scope.names.get("__class__")
        if owner is not None:
            scope.names["__class__"] = owner
            scope.names["__first__"] = next(iter(arguments), UNKNOWN)
        frame = CallFrame()
        self.place.frames.append(frame)
        self.active.append(function.node)
        self.depth += 1
        try:
            self.execute(function.node.body, scope)
        finally:
            self.depth -= 1
            self.active.pop()
            self.place.frames.pop()
        # A function without `return` returns None.
        return join_values(frame.returned or [None])

    def build_object(
        self, owner: ClassRef, arguments: list[Value], keywords: dict[str, Value], *, is_whole: bool = True
    ) -> Value:
        """Return an object of a class of the pack, with the attributes that the source shows."""
        return build_object(self, owner, arguments, keywords, is_whole=is_whole)

    def list_members(self, owner: ClassRef) -> AbstractList | None:
        """Return the members of an enumeration; None for any other class."""
        return list_members(self, owner)

    def execute(self, body: Sequence[ast.stmt], scope: NameScope) -> bool:
        """Execute statements; return whether a `return`, `break`, `continue` or `raise` certainly ends the block."""
        for statement in body:
            visit = _STATEMENT_VISITORS.get(type(statement))
            if visit is None:
                continue
            if self.steps_left <= 0 or self.depth >= MAX_DEPTH:
                self._give_up(scope)
                return True
            self.steps_left -= 1
            self.depth += 1
            try:
                if visit(self, statement, scope):
                    return True
            finally:
                self.depth -= 1
        return False

    def execute_branch(self, body: Sequence[ast.stmt], scope: NameScope) -> bool:
        """Execute the statements of an undecided branch, which may or may not run."""
        self.place.undecided_depth += 1
        try:
            return self.execute(body, scope)
        finally:
            self.place.undecided_depth -= 1

    @contextmanager
    def in_loop(self) -> Iterator[None]:
        """Mark the statements that are executed inside as part of a loop."""
        self.place.loop_depth += 1
        try:
            yield
        finally:
            self.place.loop_depth -= 1

    def bind(self, name: str, value: Value, scope: NameScope) -> None:
        """Bind a name; in an undecided branch its value before stays possible."""
        if name in scope.names.get(_GLOBALS, ()):
            scope = scope.module.scope
        if self.place.undecided_depth:
            value = join_with_previous(scope.names.get(name), value)
        scope.names[name] = value

    def bind_target(self, target: ast.expr, value: Value, scope: NameScope) -> None:
        """Assign to a target of an assignment statement."""
        if isinstance(target, ast.Name):
            self.bind(target.id, value, scope)
        else:
            self.assign(target, value, scope)

    def _give_up(self, scope: NameScope) -> None:
        self.has_given_up = True
        builtins.taint(list(scope.names.values()))
        problem = "the source is too large or too nested to be read in full"
        if problem not in self.tree.problems:
            self.tree.problems.append(problem)


def _visit_assign(interpreter: AbstractInterpreter, node: ast.Assign, scope: NameScope) -> bool:
    match node.targets:
        case [ast.Name(id=name)] if _can_defer(interpreter, node.value, name):
            scope.names[name] = DeferredValue(node.value, scope)
            return False
    value = interpreter.evaluate(node.value, scope)
    for target in node.targets:
        interpreter.bind_target(target, value, scope)
    return False


def _can_defer(interpreter: AbstractInterpreter, value: ast.expr, name: str) -> bool:
    """Return whether a call can wait until its result is used: most calls of a module do not concern its nodes."""
    if interpreter.place.is_nested or not isinstance(value, ast.Call):
        return False
    # `x = f(x)` needs the previous value of `x`, which the deferred one would replace; an import happens at once.
    names = {part.id for part in ast.walk(value) if isinstance(part, ast.Name)}
    attributes = {part.attr for part in ast.walk(value) if isinstance(part, ast.Attribute)}
    return name not in names and _LOADERS.isdisjoint(names | attributes)


def _visit_ann_assign(interpreter: AbstractInterpreter, node: ast.AnnAssign, scope: NameScope) -> bool:
    if node.value is not None:
        interpreter.bind_target(node.target, interpreter.evaluate(node.value, scope), scope)
    return False


def _visit_aug_assign(interpreter: AbstractInterpreter, node: ast.AugAssign, scope: NameScope) -> bool:
    before = interpreter.evaluate(node.target, scope)
    value = interpreter.evaluate(node.value, scope)
    if isinstance(before, ExternalName) and before.name == "sys.path":
        for folder in builtins.get_elements(value).values:
            interpreter.tree.add_path_folder(folder, is_first=False)
        return False
    if isinstance(before, AbstractDict) and isinstance(node.op, ast.BitOr):
        before.update(value, is_certain=interpreter.is_certain)
    elif isinstance(before, AbstractList):
        before.extend(builtins.get_elements(value))
    elif isinstance(node.target, ast.Name):
        scope.names[node.target.id] = combine_values(before, node.op, value)
    return False


def _visit_expression(interpreter: AbstractInterpreter, node: ast.Expr, scope: NameScope) -> bool:
    interpreter.evaluate(node.value, scope)
    return False


def _visit_return(interpreter: AbstractInterpreter, node: ast.Return, scope: NameScope) -> bool:
    if interpreter.place.frames:
        value = interpreter.evaluate(node.value, scope) if node.value else None
        interpreter.place.frames[-1].returned.append(value)
    return True


def _visit_raise(interpreter: AbstractInterpreter, _node: ast.Raise, _scope: NameScope) -> bool:
    # What a module maps after its error is read all the same: the outline of its import says that it fails.
    return bool(interpreter.place.frames)


def _visit_end(_interpreter: AbstractInterpreter, _node: ast.stmt, _scope: NameScope) -> bool:
    return True


def _visit_if(interpreter: AbstractInterpreter, node: ast.If, scope: NameScope) -> bool:
    if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return interpreter.execute(node.orelse, scope)
    truth = interpreter.decide(node.test, scope)
    if truth is not None:
        return interpreter.execute(node.body if truth else node.orelse, scope)
    body_ends = interpreter.execute_branch(node.body, scope)
    orelse_ends = interpreter.execute_branch(node.orelse, scope)
    return body_ends and orelse_ends


def _visit_for(interpreter: AbstractInterpreter, node: ast.For | ast.AsyncFor, scope: NameScope) -> bool:
    elements = interpreter.iterate(interpreter.evaluate(node.iter, scope))
    with interpreter.in_loop():
        for position, value in enumerate(elements.values[:MAX_LOOPS]):
            interpreter.assign(node.target, value, scope)
            marks = elements.marks.get(position)
            before = list_dict_keys(scope) if marks else {}
            interpreter.execute(node.body, scope)
            if marks:
                add_marks(scope, before, marks)
        if elements.is_open or len(elements.values) > MAX_LOOPS:
            # The elements that are not known may lead to one more round.
            interpreter.assign(node.target, UNKNOWN, scope)
            lengths = list_lengths(scope) if elements.folders else {}
            interpreter.execute_branch(node.body, scope)
            mark_listed_files(node, scope, lengths, elements)
    interpreter.execute(node.orelse, scope)
    return False


def _visit_while(interpreter: AbstractInterpreter, node: ast.While, scope: NameScope) -> bool:
    with interpreter.in_loop():
        interpreter.execute_branch(node.body, scope)
    return False


def _visit_with(interpreter: AbstractInterpreter, node: ast.With | ast.AsyncWith, scope: NameScope) -> bool:
    for item in node.items:
        if item.optional_vars is not None:
            interpreter.assign(item.optional_vars, UNKNOWN, scope)
    return interpreter.execute(node.body, scope)


def _visit_try(interpreter: AbstractInterpreter, node: ast.Try, scope: NameScope) -> bool:
    """Follow the body as if nothing failed; of the handlers only imports, and constants that they would change."""
    body_ends = _execute_guarded(interpreter, [*node.body, *node.orelse], scope)
    if not interpreter.place.frames and not interpreter.place.loop_depth:
        mark_emptied_keys(node, scope, interpreter.tree, interpreter.force)
    names_of_body = dict(scope.names)
    for handler in node.handlers:
        imports = [part for part in handler.body if isinstance(part, ast.ImportFrom | ast.Import)]
        interpreter.execute_branch(imports, scope)
    # Names that only a handler imports stay; those that the body bound win.
    scope.names.update(names_of_body)
    for name in list_handler_targets(node.handlers):
        if is_constant(scope.names.get(name)):
            scope.names[name] = UNKNOWN
    return interpreter.execute(node.finalbody, scope) or body_ends


def _execute_guarded(interpreter: AbstractInterpreter, body: Sequence[ast.stmt], scope: NameScope) -> bool:
    """Execute statements whose errors are caught; at the top level of a module, mark the dict keys that they add."""
    # In a loop one statement adds the keys of several rounds, so that its line says nothing about a single key.
    place = interpreter.place
    if place.frames or place.loop_depth:
        place.inner_guards += 1
        try:
            return interpreter.execute(body, scope)
        finally:
            place.inner_guards -= 1
    place.guard_depth += 1
    try:
        for statement in body:
            before = list_dict_keys(scope)
            if interpreter.execute([statement], scope):
                return True
            mark_new_keys(scope, before, statement.lineno, interpreter.tree)
        return False
    finally:
        place.guard_depth -= 1


def _visit_global(_interpreter: AbstractInterpreter, node: ast.Global, scope: NameScope) -> bool:
    scope.names[_GLOBALS] = {*scope.names.get(_GLOBALS, ()), *node.names}
    return False


def _visit_function(
    _interpreter: AbstractInterpreter, node: ast.FunctionDef | ast.AsyncFunctionDef, scope: NameScope
) -> bool:
    scope.names[node.name] = FuncRef(scope, node)
    return False


def _visit_class(interpreter: AbstractInterpreter, node: ast.ClassDef, scope: NameScope) -> bool:
    value = ClassRef(scope, node)
    scope.names[node.name] = value
    # A decorator may add the class to the mapping; it is taken to return the class itself.
    for decorator in reversed(node.decorator_list):
        interpreter.call(interpreter.evaluate(decorator, scope), [value], {})
    return False


def _visit_delete(interpreter: AbstractInterpreter, node: ast.Delete, scope: NameScope) -> bool:
    for target in node.targets:
        if isinstance(target, ast.Name):
            scope.names.pop(target.id, None)
        elif isinstance(target, ast.Subscript):
            owner = interpreter.evaluate(target.value, scope)
            if isinstance(owner, AbstractDict):
                key = interpreter.evaluate(target.slice, scope)
                # A key that is not known may be any of them.
                owner.possible_keys.update([key] if isinstance(key, str) else owner.entries)
    return False


_STATEMENT_VISITORS: Final[dict[type, Callable[..., bool]]] = {
    ast.Assign: _visit_assign,
    ast.AnnAssign: _visit_ann_assign,
    ast.AugAssign: _visit_aug_assign,
    ast.Expr: _visit_expression,
    ast.Return: _visit_return,
    ast.Raise: _visit_raise,
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
    ast.Import: visit_import,
    ast.ImportFrom: visit_import_from,
    ast.TryStar: _visit_try,
    ast.Delete: _visit_delete,
    ast.Global: _visit_global,
}
"""The function that executes each type of statement, and returns whether the statement ends the block."""
