"""How each kind of Python expression is read."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Final

from comfywatchman.comfyui.static_analysis import builtins
from comfywatchman.comfyui.static_analysis.expressions import ExpressionEvaluator, decide_truth
from comfywatchman.comfyui.static_analysis.values import (
    UNKNOWN,
    AbstractDict,
    AbstractList,
    ClassInstance,
    ClassRef,
    ExternalName,
    FuncRef,
    ModuleRef,
    NameScope,
    Value,
    join_values,
)


def _visit_constant(_reader: ExpressionEvaluator, node: ast.Constant, _scope: NameScope) -> Value:
    return node.value if isinstance(node.value, str | int | float | bool | None) else UNKNOWN


def _visit_name(reader: ExpressionEvaluator, node: ast.Name, scope: NameScope) -> Value:
    return reader.look_up(node.id, scope)


def _visit_attribute(reader: ExpressionEvaluator, node: ast.Attribute, scope: NameScope) -> Value:
    if isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Name) and node.value.func.id == "super":
        return _get_super_attribute(reader, node.attr, scope)
    return reader.get_attribute(reader.evaluate(node.value, scope), node.attr)


def _get_super_attribute(reader: ExpressionEvaluator, name: str, scope: NameScope) -> Value:
    owner, first = scope.names.get("__class__", UNKNOWN), scope.names.get("__first__", UNKNOWN)
    if not isinstance(owner, ClassRef):
        return UNKNOWN
    value = reader.get_inherited(owner, name)
    if not isinstance(value, FuncRef):
        return value
    return FuncRef(value.scope, value.node, first, is_bound=True)


def _visit_call(reader: ExpressionEvaluator, node: ast.Call, scope: NameScope) -> Value:
    function = reader.evaluate(node.func, scope)
    arguments: list[Value] = []
    for argument in node.args:
        value = reader.evaluate(argument.value if isinstance(argument, ast.Starred) else argument, scope)
        arguments.extend(builtins.get_elements(value).values if isinstance(argument, ast.Starred) else [value])
    keywords = {key.arg: reader.evaluate(key.value, scope) for key in node.keywords if key.arg is not None}
    if isinstance(function, ExternalName):
        if function.name in {"importlib.import_module", "builtins.__import__"} and arguments:
            package = arguments[1] if len(arguments) > 1 else keywords.get("package", UNKNOWN)
            return reader.import_module(arguments[0], package, scope)
        if function.name == "builtins.getattr" and len(arguments) > 1 and isinstance(arguments[1], str):
            found = reader.get_attribute(arguments[0], arguments[1])
            return arguments[2] if found is UNKNOWN and _may_use_default(arguments) else found
        if function.name == "builtins.hasattr" and len(arguments) > 1 and isinstance(arguments[1], str):
            return True if reader.get_attribute(arguments[0], arguments[1]) is not UNKNOWN else UNKNOWN
    return reader.call(function, arguments, keywords)


def _may_use_default(arguments: list[Value]) -> bool:
    return len(arguments) > 2 and isinstance(arguments[0], ModuleRef | ClassRef)  # noqa: PLR2004 - getattr's default


def _visit_dict(reader: ExpressionEvaluator, node: ast.Dict, scope: NameScope) -> Value:
    table = AbstractDict()
    for key, value in zip(node.keys, node.values, strict=True):
        if key is None:
            table.update(reader.evaluate(value, scope), certain=True)
        else:
            table.put(reader.evaluate(key, scope), reader.evaluate(value, scope), certain=True)
    return table


def _visit_list(reader: ExpressionEvaluator, node: ast.List | ast.Tuple | ast.Set, scope: NameScope) -> Value:
    items = AbstractList()
    for element in node.elts:
        if isinstance(element, ast.Starred):
            items.extend(builtins.get_elements(reader.evaluate(element.value, scope)))
        else:
            items.values.append(reader.evaluate(element, scope))
    return items


def _visit_binary(reader: ExpressionEvaluator, node: ast.BinOp, scope: NameScope) -> Value:
    left, right = reader.evaluate(node.left, scope), reader.evaluate(node.right, scope)
    return combine_values(left, node.op, right)


def combine_values(left: Value, operator: ast.operator, right: Value) -> Value:
    """Return `left + right`, `left | right` or `left % right` where both sides are known well enough."""
    if isinstance(operator, ast.Add | ast.BitOr):
        if isinstance(left, AbstractList) or isinstance(right, AbstractList):
            joined = left.copy() if isinstance(left, AbstractList) else AbstractList(is_open=True)
            joined.extend(right)
            return joined
        if isinstance(left, AbstractDict) and isinstance(right, AbstractDict):
            table = left.copy()
            table.update(right, certain=True)
            return table
        if isinstance(left, AbstractDict) or isinstance(right, AbstractDict):
            known = left if isinstance(left, AbstractDict) else right
            return AbstractDict(dict(known.entries), set(known.doubtful), is_open=True)
        if isinstance(operator, ast.Add) and isinstance(left, str) and isinstance(right, str):
            return builtins.limit_text(left + right)
    if isinstance(operator, ast.Mod) and isinstance(left, str) and isinstance(right, str) and left.count("%") == 1:
        return builtins.limit_text(left.replace("%s", right)) if "%s" in left else UNKNOWN
    return UNKNOWN


def _visit_bool(reader: ExpressionEvaluator, node: ast.BoolOp, scope: NameScope) -> Value:
    """Read `a or b` as what it may give; of `a and b` only what it surely gives."""
    stops_at = isinstance(node.op, ast.Or)
    possible: list[Value] = []
    for part in node.values:
        value = reader.evaluate(part, scope)
        truth = decide_truth(value)
        if truth is not (not stops_at) or part is node.values[-1]:
            possible.append(value)
        if truth is stops_at:
            break
    return join_values(possible) if stops_at or len(possible) == 1 else UNKNOWN


def _visit_conditional(reader: ExpressionEvaluator, node: ast.IfExp, scope: NameScope) -> Value:
    truth = reader.truth(node.test, scope)
    if truth is not None:
        return reader.evaluate(node.body if truth else node.orelse, scope)
    return join_values([reader.evaluate(node.body, scope), reader.evaluate(node.orelse, scope)])


def _visit_subscript(reader: ExpressionEvaluator, node: ast.Subscript, scope: NameScope) -> Value:
    owner = reader.evaluate(node.value, scope)
    if isinstance(node.slice, ast.Slice):
        return _slice_value(owner)
    key = reader.evaluate(node.slice, scope)
    if isinstance(owner, AbstractDict):
        return owner.entries.get(key, UNKNOWN) if isinstance(key, str | int | bool | None) else UNKNOWN
    if isinstance(owner, AbstractList):
        if isinstance(key, int) and not owner.is_open and -len(owner.values) <= key < len(owner.values):
            return owner.values[key]
        return AbstractList(is_open=True, folders=owner.folders) if owner.folders else UNKNOWN
    return UNKNOWN


def _slice_value(owner: Value) -> Value:
    if isinstance(owner, AbstractList):
        return AbstractList(list(owner.values), is_open=True, folders=owner.folders)
    return UNKNOWN


def _visit_fstring(reader: ExpressionEvaluator, node: ast.JoinedStr, scope: NameScope) -> Value:
    pieces: list[str] = []
    for part in node.values:
        plain = isinstance(part, ast.FormattedValue) and part.format_spec is None and part.conversion == -1
        value = reader.evaluate(part.value if isinstance(part, ast.FormattedValue) else part, scope)
        if not isinstance(value, str) or (isinstance(part, ast.FormattedValue) and not plain):
            return UNKNOWN
        pieces.append(value)
    return builtins.limit_text("".join(pieces))


def _visit_comprehension(
    reader: ExpressionEvaluator, node: ast.ListComp | ast.SetComp | ast.GeneratorExp, scope: NameScope
) -> Value:
    items = AbstractList()
    passes_through = isinstance(node.elt, ast.Name)
    items.is_open, items.folders = _run_generators(
        reader, node.generators, scope, lambda inner: items.values.append(reader.evaluate(node.elt, inner))
    )
    if not passes_through and items.folders:
        items.values.clear()
    return items


def _visit_dict_comprehension(reader: ExpressionEvaluator, node: ast.DictComp, scope: NameScope) -> Value:
    table = AbstractDict()

    def put(inner: NameScope) -> None:
        table.put(reader.evaluate(node.key, inner), reader.evaluate(node.value, inner), certain=True)

    is_open, _ = _run_generators(reader, node.generators, scope, put)
    table.is_open = table.is_open or is_open
    return table


def _run_generators(
    reader: ExpressionEvaluator,
    generators: list[ast.comprehension],
    scope: NameScope,
    visit: Callable[[NameScope], None],
) -> tuple[bool, frozenset[str]]:
    first, *rest = generators
    source = builtins.get_elements(reader.evaluate(first.iter, scope))
    is_open, folders = source.is_open, source.folders
    for value in source.values:
        inner = NameScope(module=scope.module, parent=scope)
        reader.assign(first.target, value, inner)
        passes = [reader.truth(test, inner) for test in first.ifs]
        if False in passes:
            continue
        is_open = is_open or None in passes
        if not rest:
            visit(inner)
            continue
        below = _run_generators(reader, rest, inner, visit)
        is_open, folders = is_open or below[0], folders | below[1]
    return is_open, folders


def _visit_compare(reader: ExpressionEvaluator, node: ast.Compare, scope: NameScope) -> Value:
    if len(node.ops) != 1:
        return UNKNOWN
    left, right = reader.evaluate(node.left, scope), reader.evaluate(node.comparators[0], scope)
    operator = node.ops[0]
    negated = isinstance(operator, ast.NotIn | ast.NotEq | ast.IsNot)
    if isinstance(operator, ast.In | ast.NotIn):
        answer = _is_member(right, left)
    elif isinstance(operator, ast.Eq | ast.NotEq | ast.Is | ast.IsNot):
        answer = _is_equal(left, right)
    else:
        return UNKNOWN
    return UNKNOWN if answer is None else answer is not negated


def _is_member(owner: Value, key: Value) -> bool | None:
    if not isinstance(key, str | int | bool | None):
        return None
    if isinstance(owner, str) and isinstance(key, str):
        return key in owner
    if isinstance(owner, AbstractDict):
        return True if key in owner.entries.keys() - owner.doubtful else None if owner.is_open else False
    if isinstance(owner, AbstractList):
        return True if key in owner.values else None if owner.is_open or UNKNOWN in owner.values else False
    return None


def _is_equal(left: Value, right: Value) -> bool | None:
    plain = isinstance(left, str | int | float | bool | None) and isinstance(right, str | int | float | bool | None)
    if plain:
        return bool(left == right)
    things = ClassRef | FuncRef | ModuleRef | AbstractList | AbstractDict | ClassInstance
    return False if None in (left, right) and isinstance(left if right is None else right, things) else None


def _visit_unary(reader: ExpressionEvaluator, node: ast.UnaryOp, scope: NameScope) -> Value:
    if isinstance(node.op, ast.Not):
        truth = reader.truth(node.operand, scope)
        return UNKNOWN if truth is None else not truth
    value = reader.evaluate(node.operand, scope)
    return -value if isinstance(node.op, ast.USub) and isinstance(value, int | float) else UNKNOWN


def _visit_lambda(_reader: ExpressionEvaluator, node: ast.Lambda, scope: NameScope) -> Value:
    return FuncRef(scope, node)


def _visit_await(reader: ExpressionEvaluator, node: ast.Await, scope: NameScope) -> Value:
    return reader.evaluate(node.value, scope)


def _visit_named(reader: ExpressionEvaluator, node: ast.NamedExpr, scope: NameScope) -> Value:
    value = reader.evaluate(node.value, scope)
    reader.assign(node.target, value, scope)
    return value


EXPRESSION_VISITORS: Final[Mapping[type[ast.AST], Callable[..., Value]]] = {
    ast.Constant: _visit_constant,
    ast.Name: _visit_name,
    ast.Attribute: _visit_attribute,
    ast.Call: _visit_call,
    ast.Dict: _visit_dict,
    ast.List: _visit_list,
    ast.Tuple: _visit_list,
    ast.Set: _visit_list,
    ast.BinOp: _visit_binary,
    ast.BoolOp: _visit_bool,
    ast.IfExp: _visit_conditional,
    ast.Subscript: _visit_subscript,
    ast.JoinedStr: _visit_fstring,
    ast.ListComp: _visit_comprehension,
    ast.SetComp: _visit_comprehension,
    ast.GeneratorExp: _visit_comprehension,
    ast.DictComp: _visit_dict_comprehension,
    ast.Compare: _visit_compare,
    ast.UnaryOp: _visit_unary,
    ast.Lambda: _visit_lambda,
    ast.Await: _visit_await,
    ast.NamedExpr: _visit_named,
}
"""How each kind of expression is read; what is not listed stays unknown."""
