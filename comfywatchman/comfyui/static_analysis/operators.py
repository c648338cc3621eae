"""How each kind of Python expression is read."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Final

from comfywatchman.comfyui.static_analysis import builtins
from comfywatchman.comfyui.static_analysis.expressions import Expressions, truth_of
from comfywatchman.comfyui.static_analysis.values import (
    UNKNOWN,
    ClassRef,
    External,
    FuncRef,
    Instance,
    Items,
    ModuleRef,
    Scope,
    Table,
    Value,
    join,
)


def _constant(_reader: Expressions, node: ast.Constant, _scope: Scope) -> Value:
    return node.value if isinstance(node.value, str | int | float | bool | None) else UNKNOWN


def _name(reader: Expressions, node: ast.Name, scope: Scope) -> Value:
    return reader.look_up(node.id, scope)


def _attribute(reader: Expressions, node: ast.Attribute, scope: Scope) -> Value:
    if isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Name) and node.value.func.id == "super":
        return _super_attribute(reader, node.attr, scope)
    return reader.attribute(reader.evaluate(node.value, scope), node.attr)


def _super_attribute(reader: Expressions, name: str, scope: Scope) -> Value:
    owner, first = scope.names.get("__class__", UNKNOWN), scope.names.get("__first__", UNKNOWN)
    if not isinstance(owner, ClassRef):
        return UNKNOWN
    value = reader.inherited(owner, name)
    if not isinstance(value, FuncRef):
        return value
    return FuncRef(value.scope, value.node, first, is_bound=True)


def _call(reader: Expressions, node: ast.Call, scope: Scope) -> Value:
    function = reader.evaluate(node.func, scope)
    arguments: list[Value] = []
    for argument in node.args:
        value = reader.evaluate(argument.value if isinstance(argument, ast.Starred) else argument, scope)
        arguments.extend(builtins.elements(value).values if isinstance(argument, ast.Starred) else [value])
    keywords = {key.arg: reader.evaluate(key.value, scope) for key in node.keywords if key.arg is not None}
    if isinstance(function, External):
        if function.name in {"importlib.import_module", "builtins.__import__"} and arguments:
            package = arguments[1] if len(arguments) > 1 else keywords.get("package", UNKNOWN)
            return reader.imported_module(arguments[0], package, scope)
        if function.name == "builtins.getattr" and len(arguments) > 1 and isinstance(arguments[1], str):
            found = reader.attribute(arguments[0], arguments[1])
            return arguments[2] if found is UNKNOWN and _lacks(arguments) else found
        if function.name == "builtins.hasattr" and len(arguments) > 1 and isinstance(arguments[1], str):
            return True if reader.attribute(arguments[0], arguments[1]) is not UNKNOWN else UNKNOWN
    return reader.call(function, arguments, keywords)


def _lacks(arguments: list[Value]) -> bool:
    return len(arguments) > 2 and isinstance(arguments[0], ModuleRef | ClassRef)  # noqa: PLR2004 - getattr's default


def _dict(reader: Expressions, node: ast.Dict, scope: Scope) -> Value:
    table = Table()
    for key, value in zip(node.keys, node.values, strict=True):
        if key is None:
            table.update(reader.evaluate(value, scope), certain=True)
        else:
            table.put(reader.evaluate(key, scope), reader.evaluate(value, scope), certain=True)
    return table


def _items(reader: Expressions, node: ast.List | ast.Tuple | ast.Set, scope: Scope) -> Value:
    items = Items()
    for element in node.elts:
        if isinstance(element, ast.Starred):
            items.extend(builtins.elements(reader.evaluate(element.value, scope)))
        else:
            items.values.append(reader.evaluate(element, scope))
    return items


def _binary(reader: Expressions, node: ast.BinOp, scope: Scope) -> Value:
    left, right = reader.evaluate(node.left, scope), reader.evaluate(node.right, scope)
    return combine(left, node.op, right)


def combine(left: Value, operator: ast.operator, right: Value) -> Value:
    """Return `left + right`, `left | right` or `left % right` where both sides are known well enough."""
    if isinstance(operator, ast.Add | ast.BitOr):
        if isinstance(left, Items) or isinstance(right, Items):
            joined = left.copy() if isinstance(left, Items) else Items(is_open=True)
            joined.extend(right)
            return joined
        if isinstance(left, Table) and isinstance(right, Table):
            table = left.copy()
            table.update(right, certain=True)
            return table
        if isinstance(left, Table) or isinstance(right, Table):
            known = left if isinstance(left, Table) else right
            return Table(dict(known.entries), set(known.doubtful), is_open=True)
        if isinstance(operator, ast.Add) and isinstance(left, str) and isinstance(right, str):
            return builtins.limited(left + right)
    if isinstance(operator, ast.Mod) and isinstance(left, str) and isinstance(right, str) and left.count("%") == 1:
        return builtins.limited(left.replace("%s", right)) if "%s" in left else UNKNOWN
    return UNKNOWN


def _bool(reader: Expressions, node: ast.BoolOp, scope: Scope) -> Value:
    """Read `a or b` as what it may give; of `a and b` only what it surely gives."""
    stops_at = isinstance(node.op, ast.Or)
    possible: list[Value] = []
    for part in node.values:
        value = reader.evaluate(part, scope)
        truth = truth_of(value)
        if truth is not (not stops_at) or part is node.values[-1]:
            possible.append(value)
        if truth is stops_at:
            break
    return join(possible) if stops_at or len(possible) == 1 else UNKNOWN


def _choice(reader: Expressions, node: ast.IfExp, scope: Scope) -> Value:
    truth = reader.truth(node.test, scope)
    if truth is not None:
        return reader.evaluate(node.body if truth else node.orelse, scope)
    return join([reader.evaluate(node.body, scope), reader.evaluate(node.orelse, scope)])


def _subscript(reader: Expressions, node: ast.Subscript, scope: Scope) -> Value:
    owner = reader.evaluate(node.value, scope)
    if isinstance(node.slice, ast.Slice):
        return _slice(owner)
    key = reader.evaluate(node.slice, scope)
    if isinstance(owner, Table):
        return owner.entries.get(key, UNKNOWN) if isinstance(key, str | int | bool | None) else UNKNOWN
    if isinstance(owner, Items):
        if isinstance(key, int) and not owner.is_open and -len(owner.values) <= key < len(owner.values):
            return owner.values[key]
        return Items(is_open=True, folders=owner.folders) if owner.folders else UNKNOWN
    return UNKNOWN


def _slice(owner: Value) -> Value:
    if isinstance(owner, Items):
        return Items(list(owner.values), is_open=True, folders=owner.folders)
    return UNKNOWN


def _joined(reader: Expressions, node: ast.JoinedStr, scope: Scope) -> Value:
    pieces: list[str] = []
    for part in node.values:
        plain = isinstance(part, ast.FormattedValue) and part.format_spec is None and part.conversion == -1
        value = reader.evaluate(part.value if isinstance(part, ast.FormattedValue) else part, scope)
        if not isinstance(value, str) or (isinstance(part, ast.FormattedValue) and not plain):
            return UNKNOWN
        pieces.append(value)
    return builtins.limited("".join(pieces))


def _comprehension(reader: Expressions, node: ast.ListComp | ast.SetComp | ast.GeneratorExp, scope: Scope) -> Value:
    items = Items()
    passes_through = isinstance(node.elt, ast.Name)
    items.is_open, items.folders = _walk(
        reader, node.generators, scope, lambda inner: items.values.append(reader.evaluate(node.elt, inner))
    )
    if not passes_through and items.folders:
        items.values.clear()
    return items


def _dict_comprehension(reader: Expressions, node: ast.DictComp, scope: Scope) -> Value:
    table = Table()

    def put(inner: Scope) -> None:
        table.put(reader.evaluate(node.key, inner), reader.evaluate(node.value, inner), certain=True)

    is_open, _ = _walk(reader, node.generators, scope, put)
    table.is_open = table.is_open or is_open
    return table


def _walk(
    reader: Expressions, generators: list[ast.comprehension], scope: Scope, visit: Callable[[Scope], None]
) -> tuple[bool, frozenset[str]]:
    first, *rest = generators
    source = builtins.elements(reader.evaluate(first.iter, scope))
    is_open, folders = source.is_open, source.folders
    for value in source.values:
        inner = Scope(module=scope.module, parent=scope)
        reader.assign(first.target, value, inner)
        passes = [reader.truth(test, inner) for test in first.ifs]
        if False in passes:
            continue
        is_open = is_open or None in passes
        if not rest:
            visit(inner)
            continue
        below = _walk(reader, rest, inner, visit)
        is_open, folders = is_open or below[0], folders | below[1]
    return is_open, folders


def _compare(reader: Expressions, node: ast.Compare, scope: Scope) -> Value:
    if len(node.ops) != 1:
        return UNKNOWN
    left, right = reader.evaluate(node.left, scope), reader.evaluate(node.comparators[0], scope)
    operator = node.ops[0]
    negated = isinstance(operator, ast.NotIn | ast.NotEq | ast.IsNot)
    if isinstance(operator, ast.In | ast.NotIn):
        answer = _contains(right, left)
    elif isinstance(operator, ast.Eq | ast.NotEq | ast.Is | ast.IsNot):
        answer = _equal(left, right)
    else:
        return UNKNOWN
    return UNKNOWN if answer is None else answer is not negated


def _contains(owner: Value, key: Value) -> bool | None:
    if not isinstance(key, str | int | bool | None):
        return None
    if isinstance(owner, str) and isinstance(key, str):
        return key in owner
    if isinstance(owner, Table):
        return True if key in owner.entries.keys() - owner.doubtful else None if owner.is_open else False
    if isinstance(owner, Items):
        return True if key in owner.values else None if owner.is_open or UNKNOWN in owner.values else False
    return None


def _equal(left: Value, right: Value) -> bool | None:
    plain = isinstance(left, str | int | float | bool | None) and isinstance(right, str | int | float | bool | None)
    if plain:
        return bool(left == right)
    things = ClassRef | FuncRef | ModuleRef | Items | Table | Instance
    return False if None in (left, right) and isinstance(left if right is None else right, things) else None


def _unary(reader: Expressions, node: ast.UnaryOp, scope: Scope) -> Value:
    if isinstance(node.op, ast.Not):
        truth = reader.truth(node.operand, scope)
        return UNKNOWN if truth is None else not truth
    value = reader.evaluate(node.operand, scope)
    return -value if isinstance(node.op, ast.USub) and isinstance(value, int | float) else UNKNOWN


def _lambda(_reader: Expressions, node: ast.Lambda, scope: Scope) -> Value:
    return FuncRef(scope, node)


def _await(reader: Expressions, node: ast.Await, scope: Scope) -> Value:
    return reader.evaluate(node.value, scope)


def _named(reader: Expressions, node: ast.NamedExpr, scope: Scope) -> Value:
    value = reader.evaluate(node.value, scope)
    reader.assign(node.target, value, scope)
    return value


READINGS: Final[Mapping[type[ast.AST], Callable[..., Value]]] = {
    ast.Constant: _constant,
    ast.Name: _name,
    ast.Attribute: _attribute,
    ast.Call: _call,
    ast.Dict: _dict,
    ast.List: _items,
    ast.Tuple: _items,
    ast.Set: _items,
    ast.BinOp: _binary,
    ast.BoolOp: _bool,
    ast.IfExp: _choice,
    ast.Subscript: _subscript,
    ast.JoinedStr: _joined,
    ast.ListComp: _comprehension,
    ast.SetComp: _comprehension,
    ast.GeneratorExp: _comprehension,
    ast.DictComp: _dict_comprehension,
    ast.Compare: _compare,
    ast.UnaryOp: _unary,
    ast.Lambda: _lambda,
    ast.Await: _await,
    ast.NamedExpr: _named,
}
"""How each kind of expression is read; what is not listed stays unknown."""
