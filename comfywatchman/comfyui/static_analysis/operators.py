"""The functions that evaluate each type of Python expression."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from comfywatchman.comfyui.static_analysis.comprehensions import visit_comprehension, visit_dict_comprehension
from comfywatchman.comfyui.static_analysis.dynamic_imports import NO_IMPORT, ImportCall
from comfywatchman.comfyui.static_analysis.expressions import ExpressionEvaluator, decide_any, decide_truth
from comfywatchman.comfyui.static_analysis.paths import get_text, join_path
from comfywatchman.comfyui.static_analysis.texts import limit_text
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
    get_plain,
    is_constant,
    join_values,
)

_ARITHMETIC: Final[Mapping[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_COMPARISONS: Final[Mapping[type[ast.cmpop], Callable[[Any, Any], Any]]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_MAX_POWER: Final = 100


def _visit_constant(_interpreter: ExpressionEvaluator, node: ast.Constant, _scope: NameScope) -> Value:
    # Bytes, complex numbers and `...` name nothing.
    if not is_constant(node.value):
        return UNKNOWN
    return node.value


def _visit_name(interpreter: ExpressionEvaluator, node: ast.Name, scope: NameScope) -> Value:
    return interpreter.look_up(node.id, scope)


def _visit_attribute(interpreter: ExpressionEvaluator, node: ast.Attribute, scope: NameScope) -> Value:
    if _is_super_call(node.value):
        return _get_super_attribute(interpreter, node.attr, scope)
    if node.attr == "name" and isinstance(node.value, ast.Attribute):
        owner = interpreter.evaluate(node.value.value, scope)
        if isinstance(owner, ClassRef) and interpreter.list_members(owner) is not None:
            # `Size.LARGE` is evaluated to its value, which does not show its name.
            return node.value.attr
    return interpreter.get_attribute(interpreter.evaluate(node.value, scope), node.attr)


def _is_super_call(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"


def _get_super_attribute(interpreter: ExpressionEvaluator, name: str, scope: NameScope) -> Value:
    owner = scope.names.get("__class__")
    if not isinstance(owner, ClassRef):
        return UNKNOWN
    value = interpreter.get_base_attribute(owner, name)
    if not isinstance(value, FuncRef):
        return value
    return FuncRef(value.scope, value.node, scope.names.get("__first__", UNKNOWN), is_bound=True)


def _visit_call(interpreter: ExpressionEvaluator, node: ast.Call, scope: NameScope) -> Value:
    function = interpreter.evaluate(node.func, scope)
    positional = _evaluate_elements(interpreter, node.args, scope)
    arguments, is_whole = positional.values, not positional.is_open
    keywords: dict[str, Value] = {}
    for keyword in node.keywords:
        value = interpreter.evaluate(keyword.value, scope)
        if keyword.arg is not None:
            keywords[keyword.arg] = value
        else:
            is_whole = _add_mapping(keywords, value) and is_whole
    if isinstance(function, ClassRef) and not is_whole:
        return interpreter.build_object(function, arguments, keywords, is_whole=False)
    loaded = ImportCall(interpreter, node, scope, arguments, keywords).follow(function)
    if loaded is not NO_IMPORT:
        return loaded
    if isinstance(function, ExternalName) and len(arguments) > 1 and isinstance(arguments[1], str):
        if function.name == "builtins.getattr":
            return _call_getattr(interpreter, *arguments[:3])
        if function.name == "builtins.hasattr":
            # An attribute that is not known may be set by code that is not followed.
            is_unknown = interpreter.get_attribute(arguments[0], arguments[1]) is UNKNOWN
            return UNKNOWN if is_unknown else True
    return interpreter.call_from(node.lineno, scope.module, function, arguments, keywords)


def _add_mapping(keywords: dict[str, Value], mapping: Value) -> bool:
    """Add the keywords that `**mapping` stands for, and return whether these are certainly all."""
    if not isinstance(mapping, AbstractDict):
        return False
    for key, value in mapping.entries.items():
        if isinstance(key, str):
            keywords.setdefault(key, UNKNOWN if key in mapping.possible_keys else value)
    return not mapping.is_open and not mapping.possible_keys


def _call_getattr(interpreter: ExpressionEvaluator, owner: Value, name: str, *default: Value) -> Value:
    value = interpreter.get_attribute(owner, name)
    # Only of the pack's own modules and classes is it known that they do not have an attribute.
    if value is UNKNOWN and default and isinstance(owner, ModuleRef | ClassRef):
        return default[0]
    return value


def _visit_dict(interpreter: ExpressionEvaluator, node: ast.Dict, scope: NameScope) -> Value:
    table = AbstractDict()
    for key, value in zip(node.keys, node.values, strict=True):
        if key is None:
            # `{**mapping}`
            table.update(interpreter.evaluate(value, scope), is_certain=True)
            continue
        evaluated_key = interpreter.evaluate(key, scope)
        table.put(evaluated_key, interpreter.evaluate(value, scope), is_certain=True)
    return table


def _visit_list(interpreter: ExpressionEvaluator, node: ast.List | ast.Tuple | ast.Set, scope: NameScope) -> Value:
    return _evaluate_elements(interpreter, node.elts, scope)


def _evaluate_elements(interpreter: ExpressionEvaluator, nodes: list[ast.expr], scope: NameScope) -> AbstractList:
    elements = AbstractList()
    for node in nodes:
        if isinstance(node, ast.Starred):
            elements.extend(interpreter.iterate(interpreter.evaluate(node.value, scope)))
        else:
            elements.values.append(interpreter.evaluate(node, scope))
    return elements


def _visit_binary(interpreter: ExpressionEvaluator, node: ast.BinOp, scope: NameScope) -> Value:
    left = interpreter.evaluate(node.left, scope)
    right = interpreter.evaluate(node.right, scope)
    return combine_values(left, node.op, right)


def combine_values(left: Value, sign: ast.operator, right: Value) -> Value:
    """Return the result of a binary operator; UNKNOWN for operators and operands that are not known.

    Known are arithmetic of numbers, `+`, `|` and `%` of text, lists and dicts.
    """
    if isinstance(left, int | float) and isinstance(right, int | float):
        return _calculate(left, sign, right)
    if isinstance(sign, ast.Div | ast.Mod):
        return join_path(left, right) if isinstance(sign, ast.Div) else _format_percent(left, right)
    return _concatenate(left, right) if isinstance(sign, ast.Add | ast.BitOr) else UNKNOWN


def _concatenate(left: Value, right: Value) -> Value:
    if isinstance(left, AbstractList) or isinstance(right, AbstractList):
        elements = AbstractList()
        elements.extend(left)
        elements.extend(right)
        return elements
    if isinstance(left, AbstractDict) or isinstance(right, AbstractDict):
        table = AbstractDict()
        table.update(left, is_certain=True)
        table.update(right, is_certain=True)
        return table
    if isinstance(left, str) and isinstance(right, str):
        return limit_text(left + right)
    return UNKNOWN


def _calculate(left: float, sign: ast.operator, right: float) -> Value:
    function = _ARITHMETIC.get(type(sign))
    # The power of large numbers would take all memory.
    if function is None or (isinstance(sign, ast.Pow) and max(abs(left), abs(right)) > _MAX_POWER):
        return UNKNOWN
    try:
        result = function(left, right)
    except ArithmeticError:
        return UNKNOWN
    # A negative number has no real root.
    return result if isinstance(result, int | float) else UNKNOWN


def _format_percent(template: Value, value: Value) -> Value:
    if not isinstance(template, str) or not isinstance(value, str):
        return UNKNOWN
    # Any other conversion, and a second one, would need more of Python's rules.
    if template.count("%") != 1 or "%s" not in template:
        return UNKNOWN
    return limit_text(template.replace("%s", value))


def _visit_bool(interpreter: ExpressionEvaluator, node: ast.BoolOp, scope: NameScope) -> Value:
    """Return the join of the values that `a or b` may have; for `a and b` only a certain value."""
    is_or = isinstance(node.op, ast.Or)
    possible: list[Value] = []
    for part in node.values:
        value = interpreter.evaluate(part, scope)
        truth = decide_truth(value)
        # A part that certainly lets the evaluation go on is the result only if it is the last one.
        goes_on = truth is not None and truth is not is_or
        if not goes_on or part is node.values[-1]:
            possible.append(value)
        if truth is is_or:
            break
    if is_or or len(possible) == 1:
        return join_values(possible)
    return UNKNOWN


def _visit_conditional(interpreter: ExpressionEvaluator, node: ast.IfExp, scope: NameScope) -> Value:
    truth = interpreter.decide(node.test, scope)
    if truth is not None:
        return interpreter.evaluate(node.body if truth else node.orelse, scope)
    either = [interpreter.evaluate(branch, scope) for branch in (node.body, node.orelse)]
    return join_values(either)


def _visit_subscript(interpreter: ExpressionEvaluator, node: ast.Subscript, scope: NameScope) -> Value:
    owner = interpreter.evaluate(node.value, scope)
    if isinstance(node.slice, ast.Slice):
        bounds = [interpreter.evaluate(bound, scope) for bound in (node.slice.lower, node.slice.upper) if bound]
        if isinstance(owner, str) and node.slice.step is None and all(isinstance(bound, int) for bound in bounds):
            return _slice_text(owner, node.slice, bounds)
        return _slice_value(owner)
    key = interpreter.evaluate(node.slice, scope)
    if isinstance(owner, AbstractDict) and isinstance(key, str | int | bool | None):
        return owner.entries.get(key, UNKNOWN)
    if isinstance(owner, AbstractList):
        return _get_element(owner, key)
    return UNKNOWN


def _get_element(elements: AbstractList, key: Value) -> Value:
    count = len(elements.values)
    if isinstance(key, int) and not elements.is_open and -count <= key < count:
        return elements.values[key]
    if elements.folders:
        # `get_filename_list(…)[0]` is one of the files; as a list it keeps the folder.
        return AbstractList(is_open=True, folders=elements.folders)
    return UNKNOWN


def _slice_text(text: str, part: ast.Slice, bounds: list[int]) -> str:
    start = bounds.pop(0) if part.lower else None
    end = bounds.pop(0) if part.upper else None
    return text[start:end]


def _slice_value(owner: Value) -> Value:
    if isinstance(owner, AbstractList):
        return AbstractList(list(owner.values), is_open=True, folders=owner.folders)
    return UNKNOWN


def _visit_fstring(interpreter: ExpressionEvaluator, node: ast.JoinedStr, scope: NameScope) -> Value:
    pieces: list[str] = []
    for part in node.values:
        expression: ast.expr = part
        if isinstance(part, ast.FormattedValue):
            # -1 stands for no conversion such as `!r`.
            if part.format_spec is not None or part.conversion != -1:
                return UNKNOWN
            expression = part.value
        value = interpreter.evaluate(expression, scope)
        text = str(value) if isinstance(value, int | float) else get_text(value)
        if text is None:
            return UNKNOWN
        pieces.append(text)
    return limit_text("".join(pieces))


def _visit_compare(interpreter: ExpressionEvaluator, node: ast.Compare, scope: NameScope) -> Value:
    if len(node.ops) != 1:
        return UNKNOWN
    left = get_plain(interpreter.evaluate(node.left, scope))
    right = get_plain(interpreter.evaluate(node.comparators[0], scope))
    compare = _COMPARISONS.get(type(node.ops[0]))
    if compare is not None:
        are_numbers = isinstance(left, int | float) and isinstance(right, int | float)
        return compare(left, right) if are_numbers else UNKNOWN
    match node.ops[0]:
        case ast.In() | ast.NotIn():
            truth = _is_member(right, left)
        case ast.Eq() | ast.NotEq() | ast.Is() | ast.IsNot():
            truth = _is_equal(left, right)
        case _:
            return UNKNOWN
    if truth is None:
        return UNKNOWN
    is_negated = isinstance(node.ops[0], ast.NotIn | ast.NotEq | ast.IsNot)
    return truth is not is_negated


def _is_member(owner: Value, key: Value) -> bool | None:
    if isinstance(owner, str) and isinstance(key, str):
        return key in owner
    if not isinstance(owner, AbstractDict | AbstractList) or not isinstance(key, str | int | bool | None):
        return None
    if isinstance(owner, AbstractDict):
        is_known = key in owner.entries and key not in owner.possible_keys
        return decide_any(has_known=is_known, may_have_others=owner.is_open)
    return decide_any(has_known=key in owner.values, may_have_others=owner.is_open or UNKNOWN in owner.values)


def _is_equal(left: Value, right: Value) -> bool | None:
    if is_constant(left) and is_constant(right):
        return bool(left == right)
    objects = ClassRef | FuncRef | ModuleRef | AbstractList | AbstractDict | ClassInstance
    for side, other in ((left, right), (right, left)):
        # `thing is None` is certainly false for a thing that exists.
        if side is None and isinstance(other, objects):
            return False
    return None


def _visit_unary(interpreter: ExpressionEvaluator, node: ast.UnaryOp, scope: NameScope) -> Value:
    if isinstance(node.op, ast.Not):
        truth = interpreter.decide(node.operand, scope)
        if truth is None:
            return UNKNOWN
        return not truth
    value = interpreter.evaluate(node.operand, scope)
    if isinstance(node.op, ast.USub) and isinstance(value, int | float):
        return -value
    return UNKNOWN


def _visit_lambda(_interpreter: ExpressionEvaluator, node: ast.Lambda, scope: NameScope) -> Value:
    return FuncRef(scope, node)


def _visit_await(interpreter: ExpressionEvaluator, node: ast.Await, scope: NameScope) -> Value:
    return interpreter.evaluate(node.value, scope)


def _visit_walrus(interpreter: ExpressionEvaluator, node: ast.NamedExpr, scope: NameScope) -> Value:
    value = interpreter.evaluate(node.value, scope)
    interpreter.assign(node.target, value, scope)
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
    ast.ListComp: visit_comprehension,
    ast.SetComp: visit_comprehension,
    ast.GeneratorExp: visit_comprehension,
    ast.DictComp: visit_dict_comprehension,
    ast.Compare: _visit_compare,
    ast.UnaryOp: _visit_unary,
    ast.Lambda: _visit_lambda,
    ast.Await: _visit_await,
    ast.NamedExpr: _visit_walrus,
}
"""The function that evaluates each type of expression; every other type is unknown."""
