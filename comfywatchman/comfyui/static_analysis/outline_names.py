"""What the names in a module or function stand for: imports, single assignments, and names that may stay unbound."""

from __future__ import annotations

import ast
import builtins
import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from comfywatchman.comfyui.static_analysis.module_names import OWN, iter_bound_names, list_blocks

_BUILTINS: Final = frozenset(dir(builtins)) | {"__file__", "__name__", "__path__", "__package__", "__spec__", "__doc__"}
_MAX_TEST_LENGTH: Final = 400
_MAX_DEFINITION_DEPTH: Final = 4
_MAX_TEST_NODES: Final = 200

_GUARDS: Final = (ast.Try, ast.TryStar, ast.If, ast.For, ast.AsyncFor, ast.While, ast.Match)


@dataclass(slots=True)
class NameTable:
    """The names of a module or a function.

    Attributes:
        origins: What names of import statements stand for, as dotted names.
        definitions: The value of names that are assigned exactly once, without a condition.
        functions: Functions of the module, by name.
        fragile: Names that are bound only under a condition, so that they may stay unbound.
        has_fragile_star: Whether `from … import *` stands under a condition, so that any name may stay unbound.
        solid: Names that are certainly bound.
    """

    origins: dict[str, str] = field(default_factory=dict)
    definitions: dict[str, ast.expr] = field(default_factory=dict)
    functions: dict[str, ast.FunctionDef] = field(default_factory=dict)
    fragile: set[str] = field(default_factory=set)
    has_fragile_star: bool = False
    solid: set[str] = field(default_factory=set)

    def may_be_unbound(self, name: str) -> bool:
        """Return whether a name may not be bound when it is used."""
        if name in self.fragile:
            return True
        return self.has_fragile_star and name not in self.solid and name not in _BUILTINS

    def get_dotted_name(self, node: ast.expr) -> str | None:
        """Return what a name or an attribute stands for, as a dotted name; None if it is not imported."""
        attributes: list[str] = []
        while isinstance(node, ast.Attribute):
            attributes.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or node.id not in self.origins:
            return None
        return ".".join((self.origins[node.id], *reversed(attributes)))

    def enter_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, origins: Mapping[str, str]) -> NameTable:
        """Return the table inside a function, in which its own names hide those of the module.

        Args:
            node: The function.
            origins: What names of import statements in its body stand for.
        """
        arguments = node.args
        parameters = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        parameters += [argument for argument in (arguments.vararg, arguments.kwarg) if argument is not None]
        hidden = {parameter.arg for parameter in parameters}
        for part in ast.walk(node):
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                hidden.add(part.id)
        inner = NameTable(
            origins={name: origin for name, origin in self.origins.items() if name not in hidden},
            definitions={name: value for name, value in self.definitions.items() if name not in hidden},
            functions={name: value for name, value in self.functions.items() if name not in hidden},
        )
        inner.origins.update((name, origin) for name, origin in origins.items() if name not in hidden)
        counts = _count_bindings(node.body)
        inner.definitions.update(_find_definitions(node.body, counts))
        return inner

    def render_test(self, node: ast.expr) -> str:
        """Return a condition as source text, with names replaced by what they stand for; empty when too long."""
        replaced = _Replacer(self).visit(copy.deepcopy(node)) if _count_nodes(node) <= _MAX_TEST_NODES else None
        text = ast.unparse(replaced) if replaced is not None else ""
        return text if len(text) <= _MAX_TEST_LENGTH else ""


def build_name_table(body: Sequence[ast.stmt], origins: Mapping[str, str]) -> NameTable:
    """Read what the names at the top level of a module stand for.

    Args:
        body: Its statements.
        origins: What the names of its import statements stand for.
    """
    table = NameTable()
    _collect_bindings(body, table, is_guarded=False)
    table.fragile -= table.solid
    counts = _count_bindings(body)
    # A name with several meanings stands for none of them.
    table.origins = {name: origin for name, origin in origins.items() if counts.get(name, 1) == 1}
    table.definitions = _find_definitions(body, counts)
    for statement in body:
        if isinstance(statement, ast.FunctionDef) and not statement.decorator_list and counts[statement.name] == 1:
            table.functions[statement.name] = statement
    return table


def _collect_bindings(body: Sequence[ast.stmt], table: NameTable, *, is_guarded: bool) -> None:
    for statement in body:
        names = set(iter_bound_names(statement))
        if "*" in names:
            table.has_fragile_star = table.has_fragile_star or is_guarded
            names.discard("*")
        (table.fragile if is_guarded else table.solid).update(names)
        for block in list_blocks(statement):
            _collect_bindings(block, table, is_guarded=is_guarded or isinstance(statement, _GUARDS))


def _count_bindings(body: Sequence[ast.stmt]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for statement in body:
        # `import a.b` and `import a.c` bind the same `a`.
        if not isinstance(statement, ast.Import):
            for name in iter_bound_names(statement):
                counts[name] = counts.get(name, 0) + 1
        for block in list_blocks(statement):
            for name, count in _count_bindings(block).items():
                counts[name] = counts.get(name, 0) + count
    return counts


def _find_definitions(body: Sequence[ast.stmt], counts: Mapping[str, int]) -> dict[str, ast.expr]:
    definitions: dict[str, ast.expr] = {}
    for statement in body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if counts.get(name) == 1:
                definitions[name] = value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value) if counts.get(name) == 1:
                definitions[name] = value
    return definitions


def _count_nodes(node: ast.expr) -> int:
    return sum(1 for _ in ast.walk(node))


class _Replacer(ast.NodeTransformer):
    """Replaces names by the dotted name or the expression that they stand for."""

    def __init__(self, table: NameTable, depth: int = 0) -> None:
        self._table = table
        self._depth = depth

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """Replace one name."""
        origin = self._table.origins.get(node.id)
        if origin is not None and not origin.startswith(OWN):
            return ast.parse(origin, mode="eval").body
        definition = self._table.definitions.get(node.id)
        if definition is None or self._depth >= _MAX_DEFINITION_DEPTH or _count_nodes(definition) > _MAX_TEST_NODES:
            return node
        replaced: ast.expr = _Replacer(self._table, self._depth + 1).visit(copy.deepcopy(definition))
        return replaced
