"""Comprehensions of lists, sets and dicts, generator expressions, and loops that build a list of files."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Final

from comfywatchman.comfyui.static_analysis.expressions import ExpressionEvaluator
from comfywatchman.comfyui.static_analysis.values import (
    AbstractDict,
    AbstractList,
    Mark,
    NameScope,
    Value,
    is_constant,
)

_PARENT_NAMES: Final = frozenset({"dirname", "parent", "parents"})
"""Attributes that give the folder of a path."""


def visit_comprehension(
    interpreter: ExpressionEvaluator, node: ast.ListComp | ast.SetComp | ast.GeneratorExp, scope: NameScope
) -> Value:
    """Return the elements of a list, set or generator."""
    elements = AbstractList()

    def add_element(inner: NameScope, _marks: frozenset[Mark] | None) -> None:
        elements.values.append(interpreter.evaluate(node.elt, inner))

    elements.is_open, elements.folders = _run_generators(interpreter, node.generators, scope, add_element)
    # `[f(name) for name in ["None", *get_filename_list("loras")]]` still lists files, but the texts that are known
    # beside the files are no longer among the choices as they stand.
    is_passed_through = isinstance(node.elt, ast.Name)
    if elements.folders and not is_passed_through:
        elements.values.clear()
        if _names_parents(node.elt):
            # `[os.path.dirname(name) for name in …]` lists folders, not files.
            elements.folders = frozenset()
    return elements


def _names_parents(code: ast.AST) -> bool:
    return any(isinstance(part, ast.Attribute) and part.attr in _PARENT_NAMES for part in ast.walk(code))


def list_lengths(scope: NameScope) -> dict[str, int]:
    """Return the length of each list that a scope names."""
    return {name: len(value.values) for name, value in scope.names.items() if isinstance(value, AbstractList)}


def _list_filled_names(loop: ast.For | ast.AsyncFor) -> list[str]:
    """Return the lists that every round fills: under a condition, only certain files may be listed."""
    names: list[str] = []
    for statement in loop.body:
        match statement:
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="append" | "extend"))):
                names.append(name)
            case ast.AugAssign(target=ast.Name(id=name)):
                names.append(name)
    return names


def mark_listed_files(
    loop: ast.For | ast.AsyncFor, scope: NameScope, before: dict[str, int], files: AbstractList
) -> None:
    """Let the lists that a loop over the files of a folder has filled list those files.

    Args:
        loop: The loop.
        scope: The names around it.
        before: The length of each list before the round that stands for all files.
        files: What the loop visits.
    """
    if _names_parents(loop):
        return
    for name in _list_filled_names(loop):
        length = before.get(name)
        filled = scope.names.get(name)
        if isinstance(filled, AbstractList) and length is not None and len(filled.values) > length:
            # The element of that round stands for any number of files.
            del filled.values[length:]
            filled.is_open = True
            filled.folders |= files.folders


def visit_dict_comprehension(interpreter: ExpressionEvaluator, node: ast.DictComp, scope: NameScope) -> Value:
    """Return the entries of a dict."""
    table = AbstractDict()

    def put_entry(inner: NameScope, marks: frozenset[Mark] | None) -> None:
        key = interpreter.evaluate(node.key, inner)
        table.put(key, interpreter.evaluate(node.value, inner), is_certain=True)
        if marks and is_constant(key):
            table.marks[key] = marks

    is_open, _folders = _run_generators(interpreter, node.generators, scope, put_entry)
    table.is_open = table.is_open or is_open
    return table


def _run_generators(
    interpreter: ExpressionEvaluator,
    generators: list[ast.comprehension],
    scope: NameScope,
    visit: Callable[[NameScope, frozenset[Mark] | None], None],
) -> tuple[bool, frozenset[str]]:
    """Call `visit` for each round, and return whether there may be other rounds and the folders that are listed."""
    generator, *inner_generators = generators
    source = interpreter.iterate(interpreter.evaluate(generator.iter, scope))
    is_open, folders = source.is_open, source.folders
    for position, value in enumerate(source.values):
        inner = NameScope(module=scope.module, parent=scope)
        interpreter.assign(generator.target, value, inner)
        conditions = [interpreter.decide(test, inner) for test in generator.ifs]
        if False in conditions:
            continue
        is_open = is_open or None in conditions
        if not inner_generators:
            visit(inner, source.marks.get(position))
            continue
        inner_is_open, inner_folders = _run_generators(interpreter, inner_generators, inner, visit)
        is_open = is_open or inner_is_open
        folders |= inner_folders
    return is_open, folders
