"""Comprehensions of lists, sets and dicts, and generator expressions."""

from __future__ import annotations

import ast
from collections.abc import Callable

from comfywatchman.comfyui.static_analysis import builtins
from comfywatchman.comfyui.static_analysis.expressions import ExpressionEvaluator
from comfywatchman.comfyui.static_analysis.values import (
    AbstractDict,
    AbstractList,
    Mark,
    NameScope,
    Value,
    is_constant,
)


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
    return elements


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
    source = builtins.get_elements(interpreter.evaluate(generator.iter, scope))
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
