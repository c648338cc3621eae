"""Build the outline of a module: the steps of importing it, from its syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from comfywatchman.comfyui.static_analysis.import_steps import (
    ANY_ERROR,
    RERAISE,
    BindStep,
    BranchStep,
    HandlerSteps,
    ImportStep,
    LoopStep,
    MarkStep,
    RaiseStep,
    ReturnStep,
    Step,
    TryStep,
    UseStep,
)
from comfywatchman.comfyui.static_analysis.module_names import (
    OWN,
    ModuleNames,
    iter_bound_names,
    list_blocks,
    read_module_names,
    resolve_module,
)
from comfywatchman.comfyui.static_analysis.outline_expressions import CORE_NAMES, ExpressionScanner
from comfywatchman.comfyui.static_analysis.outline_names import NameTable, build_name_table

_BEYOND: Final = "attempted relative import beyond the top-level package"
_FAILING_WORDS: Final = (b"raise", b"import", b"assert", b"exit(")
_MAX_CALL_DEPTH: Final = 2
_MAX_TEXT: Final = 120
_TRANSPARENT: Final = frozenset(
    {"contextlib.nullcontext", "contextlib.redirect_stderr", "contextlib.redirect_stdout", "open"}
    | {"torch.inference_mode", "torch.no_grad", "warnings.catch_warnings"}
)
"""Context managers that let every error through."""

_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class OutlineSource:
    """The module to outline.

    Attributes:
        tree: Its syntax tree.
        content: Its source.
        names: The names that it binds.
        parts: Its dotted name, in parts.
        package: The package that one leading dot of an import means; None where there is no package.
        followed: Modules that dynamic imports load, by the line of the call.
        marks: Lines of guarded statements that register nodes.
    """

    tree: ast.Module
    content: bytes
    names: ModuleNames
    parts: tuple[str, ...]
    package: tuple[str, ...] | None
    followed: Mapping[int, Sequence[str]] = field(default_factory=dict)
    marks: Collection[int] = ()


class ModuleOutliner:
    """Builds the steps of importing a module, and of calling its functions.

    Args:
        source: The module.
    """

    def __init__(self, source: OutlineSource) -> None:
        self.source = source
        self._table = build_name_table(source.tree.body, source.names.origins)
        self._lines = source.content.split(b"\n")
        core_names = [name for name, origin in source.names.origins.items() if origin.partition(".")[0] in CORE_NAMES]
        self._words = (*_FAILING_WORDS, *(name.encode() for name in core_names))

    def build_steps(self) -> tuple[Step, ...]:
        """Return the steps of importing the module."""
        return _StepBuilder(self.source, self._table).build_block(self.source.tree.body)

    def build_function_steps(self, function: _Function) -> tuple[Step, ...]:
        """Return the steps of calling one of its functions; none when nothing in it may fail."""
        text = b"\n".join(self._lines[function.lineno - 1 : function.end_lineno])
        if not any(word in text for word in self._words):
            return ()
        steps = _StepBuilder(self.source, self._table).build_function(function)
        return () if steps == (ReturnStep(),) else steps


class _StepBuilder:
    """Builds the steps of blocks.

    Args:
        source: The module.
        table: What the names at this place stand for.
        depth: How many function calls surround the place.
    """

    def __init__(self, source: OutlineSource, table: NameTable, depth: int = 0) -> None:
        self._source = source
        self._table = table
        self._depth = depth
        self._is_guarded = False
        self._caught: list[str | None] = []
        self._has_lazy_annotations = "annotations" in source.names.origins
        self._scanner = ExpressionScanner(table, source.parts, source.package or (), source.followed, self._build_call)

    def build_function(self, function: _Function) -> tuple[Step, ...]:
        """Return the steps of calling a function."""
        names = read_module_names(ast.Module(function.body, []), b"", self._source.package or (), prefix=OWN)
        table = self._table.enter_function(function, names.origins)
        return _StepBuilder(self._source, table, self._depth + 1).build_block(function.body)

    def build_block(self, body: Sequence[ast.stmt]) -> tuple[Step, ...]:
        """Return the steps of statements."""
        steps: list[Step] = []
        for statement in body:
            steps += self._visit(statement)
            if self._is_guarded and statement.lineno in self._source.marks:
                steps.append(MarkStep(statement.lineno))
        return tuple(steps)

    def _build_call(self, function: ast.FunctionDef) -> tuple[Step, ...] | None:
        """Return the steps of a function that the module calls; None for one whose call does not run its body."""
        if self._depth >= _MAX_CALL_DEPTH:
            return None
        if any(isinstance(part, ast.Yield | ast.YieldFrom) for part in ast.walk(function)):
            return None
        return self.build_function(function)

    def _visit(self, statement: ast.stmt) -> Iterator[Step]:
        visit = _VISITORS.get(type(statement))
        if visit is not None:
            yield from visit(self, statement)
            return
        yield from self._scan(statement)
        yield from self._bind(iter_bound_names(statement))

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
        self._scanner.used_names = set()
        if isinstance(node, ast.AnnAssign):
            steps = [*self._scanner.scan(node.value or node.target)]
            if not self._depth:
                steps += self._scan_annotation(node.annotation)
        else:
            steps = [*self._scanner.scan(node, is_annotation=is_annotation)]
        # Names in functions may be bound by the time of the call.
        used = self._scanner.used_names - hidden if self._depth == 0 else set()
        fragile = sorted(name for name in used if self._table.may_be_unbound(name))
        line = getattr(node, "lineno", 0)
        if fragile and not is_annotation:
            yield UseStep(line, tuple(fragile))
        yield from steps

    def _scan_annotation(self, node: ast.expr | None) -> list[Step]:
        if node is None or self._has_lazy_annotations:
            return []
        return [*self._scan(node, is_annotation=True)]

    def _bind(self, names: Iterator[str] | Sequence[str]) -> Iterator[Step]:
        bound = self._keep_fragile(names)
        if bound:
            yield BindStep(bound)

    def _keep_fragile(self, names: Iterator[str] | Sequence[str]) -> tuple[str, ...]:
        if self._depth:
            return ()
        return tuple(name for name in names if self._table.may_be_unbound(name))

    def visit_import_from(self, statement: ast.ImportFrom) -> Iterator[Step]:
        """Yield the steps of `from a import b`."""
        package = self._source.package
        is_beyond = statement.level > 0 and package is None
        module = None if is_beyond else resolve_module(package or (), statement.module, statement.level, prefix=OWN)
        if module is None:
            yield RaiseStep(statement.lineno, "ImportError", _BEYOND)
            return
        if module == "__future__":
            return
        is_known = module.startswith(OWN) or module.partition(".")[0] in CORE_NAMES
        # Names in modules of others are not looked for.
        names = tuple(alias.name for alias in statement.names) if is_known else ()
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

    def visit_function(self, statement: _Function) -> Iterator[Step]:
        """Yield the steps of a function definition."""
        arguments = statement.args
        for expression in [*statement.decorator_list, *arguments.defaults, *arguments.kw_defaults]:
            if expression is not None:
                yield from self._scan(expression)
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
        inner = frozenset(_list_names(body))
        for part in body:
            match part:
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    # The names of methods are those of the class.
                    steps = [step for step in self.visit_function(part) if not isinstance(step, BindStep)]
                    yield from steps
                case ast.Assign() | ast.Expr():
                    yield from self._scan(part, hidden=inner)

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


def _list_names(body: Sequence[ast.stmt]) -> Iterator[str]:
    for statement in body:
        yield from iter_bound_names(statement)


def _read_message(node: ast.expr) -> str:
    """Return the text of an error message, as far as it is written in the source."""
    pieces = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    return " ".join("".join(pieces).split())[:_MAX_TEXT]


_VISITORS: Final[Mapping[type, Callable[..., Iterator[Step]]]] = {
    ast.Import: _StepBuilder.visit_import,
    ast.ImportFrom: _StepBuilder.visit_import_from,
    ast.Raise: _StepBuilder.visit_raise,
    ast.Assert: _StepBuilder.visit_assert,
    ast.If: _StepBuilder.visit_if,
    ast.Try: _StepBuilder.visit_try,
    ast.TryStar: _StepBuilder.visit_try,
    ast.With: _StepBuilder.visit_with,
    ast.AsyncWith: _StepBuilder.visit_with,
    ast.FunctionDef: _StepBuilder.visit_function,
    ast.AsyncFunctionDef: _StepBuilder.visit_function,
    ast.ClassDef: _StepBuilder.visit_class,
    ast.Return: _StepBuilder.visit_return,
    ast.For: _StepBuilder.visit_loop,
    ast.AsyncFor: _StepBuilder.visit_loop,
    ast.While: _StepBuilder.visit_loop,
    ast.Match: _StepBuilder.visit_loop,
}
"""The method that builds the steps of each type of statement; all others only bind names and evaluate expressions."""
