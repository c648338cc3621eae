"""Names that are used where nothing has bound them, so that Python raises NameError."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Final

from comfywatchman.comfyui.static_analysis.faults.expressions import FaultSource
from comfywatchman.comfyui.static_analysis.module_names import ModuleNames, iter_bound_names, list_blocks
from comfywatchman.comfyui.static_analysis.outline_names import is_builtin

_BINDING_FIRST: Final = (ast.For, ast.AsyncFor, ast.While, ast.Match, ast.With, ast.AsyncWith)
_PATTERNS: Final = re.compile(rb":=|^[ \t]*match\b[^\n]*:", re.MULTILINE)
"""Code that binds names inside of expressions and patterns."""


class UnboundNames:
    """Follows which names of a module are bound, in the order of its statements.

    Args:
        source: The module.
        names: The names that it binds.
    """

    def __init__(self, source: FaultSource, names: ModuleNames) -> None:
        self._uses = source.uses
        self._names = names.names
        # `from … import *` may bind any name, and so may code that is not followed.
        self._is_open = names.is_open or bool(names.stars)
        self._has_patterns = _PATTERNS.search(source.content) is not None
        # Names that only functions bind, by `global`, may be bound at any time.
        self._bound = set(names.names).difference(iter_all_names(source.tree.body))

    def bind_before(self, statement: ast.stmt) -> None:
        """Follow the names that a statement binds before, or while, its parts are evaluated."""
        if self._has_patterns:
            self._bound.update(_iter_expression_names(statement))
        # Another round of a loop finds what the round before has bound.
        if isinstance(statement, _BINDING_FIRST):
            self._bound.update(iter_all_names([statement]))
        self._bound.update(_iter_caught_names(statement))

    def bind_after(self, statement: ast.stmt, *, is_certain: bool) -> None:
        """Follow the names that a statement has bound, or unbound.

        Args:
            statement: The statement.
            is_certain: Whether it certainly runs.
        """
        self._bound.update(iter_bound_names(statement))
        if isinstance(statement, ast.Delete) and is_certain:
            self._bound.difference_update(target.id for target in statement.targets if isinstance(target, ast.Name))

    def list_unbound(self, used: Collection[str], *, in_function: bool) -> list[str]:
        """Return those of some used names that are not bound.

        Args:
            used: The names.
            in_function: Whether a function uses them, which may be called after the module has bound all its names.
        """
        if self._is_open:
            return []
        unbound: list[str] = []
        for name in sorted(used):
            if name in self._bound or is_builtin(name) or name.startswith("__"):
                continue
            if in_function and name in self._names:
                continue
            # Names of another scope: those of a function or class, type parameters.
            if name not in self._names and self._uses.bindings[name]:
                continue
            unbound.append(name)
        return unbound


def iter_all_names(body: Sequence[ast.stmt]) -> Iterator[str]:
    """Yield the names that statements and the blocks inside them bind, without those of `:=` and patterns."""
    for statement in body:
        yield from iter_bound_names(statement)
        yield from _iter_caught_names(statement)
        for block in list_blocks(statement):
            yield from iter_all_names(block)


def _iter_caught_names(statement: ast.stmt) -> Iterator[str]:
    """Yield the names of `except … as name`."""
    for handler in getattr(statement, "handlers", ()):
        if handler.name is not None:
            yield handler.name


def _iter_expression_names(statement: ast.stmt) -> Iterator[str]:
    """Yield the names that `:=` and patterns bind in a statement, wherever they stand in it."""
    for part in ast.walk(statement):
        match part:
            case ast.NamedExpr(target=ast.Name(id=name)) | ast.MatchStar(name=str() as name):
                yield name
            case ast.MatchAs(name=str() as name) | ast.MatchMapping(rest=str() as name):
                yield name
