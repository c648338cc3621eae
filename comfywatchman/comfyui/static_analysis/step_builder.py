"""Build the steps of statements from their syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from msgspec import structs

from comfywatchman.comfyui.static_analysis.faults.expressions import FaultFinder
from comfywatchman.comfyui.static_analysis.faults.unbound_names import UnboundNames, iter_all_names
from comfywatchman.comfyui.static_analysis.import_steps import (
    ANY_ERROR,
    RERAISE,
    BindStep,
    BranchStep,
    FaultStep,
    HandlerSteps,
    ImportStep,
    LoopStep,
    MarkStep,
    RaiseStep,
    ReturnStep,
    StarUseStep,
    Step,
    TryStep,
    UnresolvedStep,
    UseStep,
)
from comfywatchman.comfyui.static_analysis.module_names import (
    BEYOND,
    iter_bound_names,
    list_blocks,
    read_module_names,
    resolve_module,
)
from comfywatchman.comfyui.static_analysis.outline_expressions import ExpressionScanner, list_set_names
from comfywatchman.comfyui.static_analysis.outline_names import NameTable, is_builtin
from comfywatchman.comfyui.static_analysis.outline_source import OutlineSource

_MAX_CALL_DEPTH: Final = 8
_MAX_CALLS: Final = 300
"""Functions that are followed from one place; those of a real pack are far fewer."""

_MAX_TEXT: Final = 120
_TRANSPARENT: Final = frozenset(
    {"contextlib.nullcontext", "contextlib.redirect_stderr", "contextlib.redirect_stdout", "open"}
    | {"torch.inference_mode", "torch.no_grad", "warnings.catch_warnings"}
)
"""Context managers that let every error through."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(slots=True)
class _Calls:
    """The calls that are followed from one place.

    Attributes:
        count: How many there were.
        active: The functions that run at the moment.
    """

    count: int = 0
    active: list[Function] = field(default_factory=list)


class StepBuilder:
    """Builds the steps of blocks.

    Args:
        source: The module.
        table: What the names at this place stand for.
        unbound: Follows which names of the module are bound.
        depth: How many function calls surround the place.
        calls: The calls that are followed.
    """

    def __init__(
        self,
        source: OutlineSource,
        table: NameTable,
        unbound: UnboundNames,
        depth: int = 0,
        calls: _Calls | None = None,
    ) -> None:
        self._source = source
        self._table = table
        self._unbound = unbound
        self._depth = depth
        self._calls = _Calls() if calls is None else calls
        self._nesting = 0
        self._is_guarded = False
        self._caught: list[str | None] = []
        self._has_lazy_annotations = "annotations" in source.names.origins
        package = source.package or ()
        faults = FaultFinder(source.faults, table, is_function=depth > 0)
        self._scanner = ExpressionScanner(table, source.parts, package, source.loads, self._build_call, faults=faults)

    def build_function(self, function: Function) -> tuple[Step, ...]:
        """Return the steps of calling a function."""
        package, prefix = self._source.package or (), self._source.prefix
        names = read_module_names(ast.Module(function.body, []), b"", package, prefix=prefix)
        table = self._table.enter_function(function, names.origins)
        builder = StepBuilder(self._source, table, self._unbound, self._depth + 1, self._calls)
        self._calls.active.append(function)
        steps = builder.build_block(function.body)
        self._calls.active.pop()
        return steps

    def build_block(self, body: Sequence[ast.stmt]) -> tuple[Step, ...]:
        """Return the steps of statements."""
        steps: list[Step] = []
        self._nesting += 1
        for statement in body:
            if not self._depth:
                self._unbound.bind_before(statement)
            steps += self._visit(statement)
            if not self._depth:
                self._unbound.bind_after(statement, is_certain=self._nesting == 1)
            if self._is_guarded and statement.lineno in self._source.marks:
                steps.append(MarkStep(statement.lineno))
        self._nesting -= 1
        return tuple(steps)

    def _build_call(self, function: ast.FunctionDef) -> tuple[Step, ...] | None:
        """Return the steps of a function that the module calls; None for one whose call does not run its body."""
        calls = self._calls
        if self._depth >= _MAX_CALL_DEPTH or calls.count >= _MAX_CALLS or function in calls.active:
            return None
        calls.count += 1
        if any(isinstance(part, ast.Yield | ast.YieldFrom) for part in ast.walk(function)):
            return None
        return self.build_function(function)

    def _visit(self, statement: ast.stmt) -> Iterator[Step]:
        visit = _VISITORS.get(type(statement))
        if visit is not None:
            yield from visit(self, statement)
            return
        yield from self._scan(statement)
        match statement:
            case ast.Assign(value=ast.Constant(value=None)):
                is_none = True
            case _:
                is_none = False
        yield from self._bind(iter_bound_names(statement), is_none=is_none)
        yield from list_set_names(statement, self._table)

    def visit_import(self, statement: ast.Import) -> Iterator[Step]:
        """Yield the steps of `import a, b`."""
        for alias in statement.names:
            bound = alias.asname or alias.name.partition(".")[0]
            yield ImportStep(statement.lineno, alias.name, binds=self._keep_fragile([bound]))

    def visit_raise(self, statement: ast.Raise) -> Iterator[Step]:
        """Yield the steps of a `raise` statement."""
        yield from self._scan(statement)
        yield self._build_raise(statement)

    def visit_assert(self, statement: ast.Assert) -> Iterator[Step]:
        """Yield the steps of an `assert` statement."""
        yield from self._scan(statement.test)
        error = RaiseStep(statement.lineno, "AssertionError", "")
        yield BranchStep(statement.lineno, self._table.render_test(statement.test), orelse=(error,))

    def visit_return(self, statement: ast.Return) -> Iterator[Step]:
        """Yield the steps of a `return` statement."""
        yield from self._scan(statement)
        yield ReturnStep()

    def _scan(
        self, node: ast.AST, *, is_annotation: bool = False, hidden: frozenset[str] = frozenset()
    ) -> Iterator[Step]:
        """Yield the steps of an expression, or of a statement that consists of expressions."""
        self._scanner.used_names, self._scanner.used_members = set(), set()
        if isinstance(node, ast.AnnAssign):
            steps = [*self._scanner.scan(node.value or node.target)]
            if not self._depth:
                steps += self._scan_annotation(node.annotation)
        else:
            steps = [*self._scanner.scan(node, is_annotation=is_annotation)]
        # Names in functions may be bound by the time of the call.
        names_used = self._scanner.used_names - hidden - self._table.local_names
        used = names_used if self._depth == 0 else set()
        fragile = sorted(name for name in used if self._table.may_be_unbound(name))
        line = getattr(node, "lineno", 0)
        if not is_annotation:
            for name in self._unbound.list_unbound(names_used, in_function=self._depth > 0):
                yield FaultStep(line, "NameError", f"name {name!r} is not defined", (name,))
        if fragile and not is_annotation:
            members = self._scanner.used_members.intersection(fragile)
            yield UseStep(line, tuple(fragile), tuple(sorted(members)))
        names = self._source.names
        if names.stars and not names.is_open and not is_annotation:
            of_stars = sorted(name for name in used if name not in names.names and not is_builtin(name))
            if of_stars:
                yield StarUseStep(line, tuple(of_stars), names.stars)
        yield from steps

    def _scan_annotation(self, node: ast.expr | None) -> list[Step]:
        if node is None or self._has_lazy_annotations:
            return []
        return [*self._scan(node, is_annotation=True)]

    def _bind(self, names: Iterator[str] | Sequence[str], *, is_none: bool = False) -> Iterator[Step]:
        bound = self._keep_fragile(names)
        if bound:
            yield BindStep(bound, is_none)

    def _keep_fragile(self, names: Iterator[str] | Sequence[str]) -> tuple[str, ...]:
        if self._depth:
            return ()
        return tuple(name for name in names if self._table.may_be_unbound(name))

    def visit_import_from(self, statement: ast.ImportFrom) -> Iterator[Step]:
        """Yield the steps of `from a import b`."""
        package, prefix = self._source.package, self._source.prefix
        if statement.level and prefix.endswith("?"):
            # Whether the name under which the file is loaded has a package is not known.
            yield UnresolvedStep(statement.lineno, ast.unparse(statement)[:_MAX_TEXT])
            return
        is_beyond = statement.level > 0 and package is None
        module = None if is_beyond else resolve_module(package or (), statement.module, statement.level, prefix=prefix)
        if module is None:
            yield RaiseStep(statement.lineno, "ImportError", BEYOND)
            return
        if module == "__future__":
            return
        names = tuple(alias.name for alias in statement.names)
        bound = [alias.asname or alias.name for alias in statement.names]
        binds = ("*",) if "*" in bound else self._keep_fragile(bound)
        yield ImportStep(statement.lineno, module, names, binds)

    def _build_raise(self, statement: ast.Raise) -> Step:
        error = statement.exc
        call = error if isinstance(error, ast.Call) else None
        name = call.func if call is not None else error
        if name is None or (isinstance(name, ast.Name) and name.id in self._caught):
            return RaiseStep(statement.lineno, RERAISE)
        text = ""
        if call is not None and call.args:
            text = _read_message(call.args[0])
        dotted = self._table.get_dotted_name(name) or ast.unparse(name)
        return RaiseStep(statement.lineno, dotted[:_MAX_TEXT], text)

    def visit_if(self, statement: ast.If) -> Iterator[Step]:
        """Yield the steps of an `if` statement."""
        test = statement.test
        if isinstance(test, ast.Name | ast.Attribute) and ast.unparse(test).endswith("TYPE_CHECKING"):
            yield from self.build_block(statement.orelse)
            return
        yield from self._scan(test)
        body, orelse = self.build_block(statement.body), self.build_block(statement.orelse)
        if body or orelse:
            yield BranchStep(statement.lineno, self._table.render_test(test), body, orelse)

    def visit_try(self, statement: ast.Try | ast.TryStar) -> Iterator[Step]:
        """Yield the steps of a `try` statement."""
        was_guarded, self._is_guarded = self._is_guarded, self._depth == 0
        body, orelse = self.build_block(statement.body), self.build_block(statement.orelse)
        if self._depth == 0 and -statement.lineno in self._source.marks:
            orelse = (*orelse, MarkStep(-statement.lineno))
        handlers = []
        for handler in statement.handlers:
            self._caught.append(handler.name)
            handlers.append(HandlerSteps(self._list_errors(handler.type), self.build_block(handler.body)))
            self._caught.pop()
        self._is_guarded = was_guarded
        yield TryStep(body, tuple(handlers), orelse, self.build_block(statement.finalbody))

    def _list_errors(self, node: ast.expr | None) -> tuple[str, ...]:
        if node is None:
            return (ANY_ERROR,)
        classes = node.elts if isinstance(node, ast.Tuple) else [node]
        return tuple(self._table.get_dotted_name(item) or ast.unparse(item) for item in classes)

    def visit_with(self, statement: ast.With | ast.AsyncWith) -> Iterator[Step]:
        """Yield the steps of a `with` statement."""
        wrappers: list[tuple[str, ...] | None] = []
        for item in statement.items:
            yield from self._scan(item.context_expr)
            wrappers.append(self._list_suppressed(item.context_expr))
        yield from self._bind(iter_bound_names(statement))
        was_guarded = self._is_guarded
        self._is_guarded = self._is_guarded or (self._depth == 0 and wrappers != [()])
        body = self.build_block(statement.body)
        self._is_guarded = was_guarded
        for suppressed in wrappers:
            if suppressed is None:
                body = (LoopStep(body),)
            elif suppressed:
                body = (TryStep(body, (HandlerSteps(suppressed),)),)
        yield from body

    def _list_suppressed(self, node: ast.expr) -> tuple[str, ...] | None:
        """Return the errors that a context manager suppresses; None if that is not known."""
        if not isinstance(node, ast.Call):
            return None
        name = self._table.get_dotted_name(node.func) or ast.unparse(node.func)
        if name == "contextlib.suppress":
            return tuple(self._table.get_dotted_name(item) or ast.unparse(item) for item in node.args)
        return () if name in _TRANSPARENT else None

    def visit_function(self, statement: Function, *, hidden: frozenset[str] = frozenset()) -> Iterator[Step]:
        """Yield the steps of a function definition.

        Args:
            statement: The function.
            hidden: Names of the class around it.
        """
        arguments = statement.args
        for expression in [*statement.decorator_list, *arguments.defaults, *arguments.kw_defaults]:
            if expression is not None:
                yield from self._scan(expression, hidden=hidden)
        if not self._depth:
            for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
                yield from self._scan_annotation(argument.annotation)
            yield from self._scan_annotation(statement.returns)
        yield from self._bind([statement.name])

    def visit_class(self, statement: ast.ClassDef) -> Iterator[Step]:
        """Yield the steps of a class definition."""
        for expression in [*statement.decorator_list, *statement.bases, *(key.value for key in statement.keywords)]:
            yield from self._scan(expression)
        yield from self._visit_class_body(statement.body)
        yield from self._bind([statement.name])

    def _visit_class_body(self, body: Sequence[ast.stmt]) -> Iterator[Step]:
        inner = frozenset(iter_all_names(body))
        for part in body:
            match part:
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    # The names of methods are those of the class.
                    steps = [step for step in self.visit_function(part, hidden=inner) if not isinstance(step, BindStep)]
                    yield from steps
                case ast.Assign() | ast.Expr():
                    yield from self._scan(part, hidden=inner)
                case ast.Import() | ast.ImportFrom():
                    # What it binds is a name of the class.
                    for step in self._visit(part):
                        yield structs.replace(step, binds=()) if isinstance(step, ImportStep) else step

    def visit_loop(self, statement: ast.For | ast.AsyncFor | ast.While | ast.Match) -> Iterator[Step]:
        """Yield the steps of a loop or `match` statement."""
        match statement:
            case ast.For() | ast.AsyncFor():
                yield from self._scan(statement.iter)
            case ast.While():
                yield from self._scan(statement.test)
            case ast.Match():
                yield from self._scan(statement.subject)
        yield from self._bind(iter_bound_names(statement))
        steps: list[Step] = []
        for block in list_blocks(statement):
            steps += self.build_block(block)
        if steps:
            yield LoopStep(tuple(steps))


def _read_message(node: ast.expr) -> str:
    """Return the text of an error message, as far as it is written in the source."""
    pieces = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    return " ".join("".join(pieces).split())[:_MAX_TEXT]


_VISITORS: Final[Mapping[type, Callable[..., Iterator[Step]]]] = {
    ast.Import: StepBuilder.visit_import,
    ast.ImportFrom: StepBuilder.visit_import_from,
    ast.Raise: StepBuilder.visit_raise,
    ast.Assert: StepBuilder.visit_assert,
    ast.If: StepBuilder.visit_if,
    ast.Try: StepBuilder.visit_try,
    ast.TryStar: StepBuilder.visit_try,
    ast.With: StepBuilder.visit_with,
    ast.AsyncWith: StepBuilder.visit_with,
    ast.FunctionDef: StepBuilder.visit_function,
    ast.AsyncFunctionDef: StepBuilder.visit_function,
    ast.ClassDef: StepBuilder.visit_class,
    ast.Return: StepBuilder.visit_return,
    ast.For: StepBuilder.visit_loop,
    ast.AsyncFor: StepBuilder.visit_loop,
    ast.While: StepBuilder.visit_loop,
    ast.Match: StepBuilder.visit_loop,
}
"""The method that builds the steps of each type of statement; all others only bind names and evaluate expressions."""
