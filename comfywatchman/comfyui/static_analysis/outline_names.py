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

_METHOD_KINDS: Final = frozenset({"classmethod", "staticmethod"})
_GUARDS: Final = (ast.Try, ast.TryStar, ast.If, ast.For, ast.AsyncFor, ast.While, ast.Match)


@dataclass(slots=True)
class NameTable:
    """The names of a module or a function.

    Attributes:
        origins: What names of import statements stand for, as dotted names.
        definitions: The value of names that are assigned exactly once, without a condition.
        functions: Functions of the module, by name.
        classes: Its classes, by name.
        fragile: Names that are bound only under a condition, so that they may stay unbound.
        has_fragile_star: Whether `from … import *` stands under a condition, so that any name may stay unbound.
        solid: Names that are certainly bound.
        local_names: Names of the function; none in a module.
    """

    origins: dict[str, str] = field(default_factory=dict)
    definitions: dict[str, ast.expr] = field(default_factory=dict)
    functions: dict[str, ast.FunctionDef] = field(default_factory=dict)
    classes: dict[str, ast.ClassDef] = field(default_factory=dict)
    fragile: set[str] = field(default_factory=set)
    has_fragile_star: bool = False
    solid: set[str] = field(default_factory=set)
    local_names: set[str] = field(default_factory=set)

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

    def find_called_function(self, node: ast.expr) -> ast.FunctionDef | None:
        """Return the function of the module that a call runs: a function, a method, or the constructor of a class."""
        match node:
            case ast.Name(id=name) if name in self.functions:
                return self.functions[name]
            case ast.Name(id=name) if name in self.classes:
                return _find_method(self.classes[name], "__init__")
            case ast.Attribute(value=owner, attr=name):
                class_name = self._get_class_name(owner)
                return None if class_name is None else _find_method(self.classes[class_name], name)
        return None

    def _get_class_name(self, node: ast.expr) -> str | None:
        """Return the class of the module that an expression stands for, or of which it is an object."""
        if isinstance(node, ast.Name):
            if node.id in self.classes:
                return node.id
            node = self.definitions.get(node.id, node)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in self.classes:
            return node.func.id
        return None

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
            classes={name: value for name, value in self.classes.items() if name not in hidden},
            local_names=hidden | set(origins) | set(_count_bindings(node.body)) | _find_imported_names(node.body),
        )
        inner.origins.update((name, origin) for name, origin in origins.items() if name not in hidden)
        counts = _count_bindings(node.body)
        inner.definitions.update(_find_definitions(node.body, counts, _find_imported_names(node.body)))
        return inner

    def render_test(self, node: ast.expr) -> str:
        """Return a condition as source text, with names replaced by what they stand for; empty when too long."""
        replaced = _Replacer(self).visit(copy.deepcopy(node)) if _count_nodes(node) <= _MAX_TEST_NODES else None
        text = ast.unparse(replaced) if replaced is not None else ""
        return text if len(text) <= _MAX_TEST_LENGTH else ""


def is_builtin(name: str) -> bool:
    """Return whether Python itself binds a name in every module."""
    return name in _BUILTINS


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
    imported = _find_imported_names(body)
    # A name with several meanings stands for none of them: `cv2 = None`, then `import cv2` in a `try`.
    for name, origin in origins.items():
        bindings_beside_import = 0 if name in imported else 1
        if counts.get(name, bindings_beside_import) == bindings_beside_import:
            table.origins[name] = origin
    table.definitions = _find_definitions(body, counts, imported)
    for statement in body:
        if isinstance(statement, ast.FunctionDef) and not statement.decorator_list and counts[statement.name] == 1:
            table.functions[statement.name] = statement
        if isinstance(statement, ast.ClassDef) and not statement.decorator_list and counts[statement.name] == 1:
            table.classes[statement.name] = statement
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


def _find_imported_names(body: Sequence[ast.stmt]) -> set[str]:
    """Return the names that `import …` binds, which `_count_bindings` leaves out."""
    names: set[str] = set()
    for statement in body:
        if isinstance(statement, ast.Import):
            names.update(iter_bound_names(statement))
        for block in list_blocks(statement):
            names |= _find_imported_names(block)
    return names


def _find_definitions(body: Sequence[ast.stmt], counts: Mapping[str, int], imported: set[str]) -> dict[str, ast.expr]:
    definitions: dict[str, ast.expr] = {}
    for statement in body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                definition = value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                definition = value
            case _:
                continue
        if counts.get(name) == 1 and name not in imported:
            definitions[name] = definition
    return definitions


def _find_method(owner: ast.ClassDef, name: str) -> ast.FunctionDef | None:
    """Return a method that a class itself defines, once; None when its bases or its metaclass may have another say."""
    methods = [part for part in owner.body if isinstance(part, ast.FunctionDef) and part.name == name]
    if len(methods) != 1 or owner.keywords or _count_bindings(owner.body)[name] != 1:
        return None
    marks = {mark.id for mark in methods[0].decorator_list if isinstance(mark, ast.Name)}
    if len(marks) != len(methods[0].decorator_list) or not marks <= _METHOD_KINDS:
        return None
    return methods[0]


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
