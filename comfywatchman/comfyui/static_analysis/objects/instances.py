"""Objects of a pack's classes: dataclasses, named tuples, pydantic models and plain classes, with their attributes."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from comfywatchman.comfyui.static_analysis.expressions import ExpressionEvaluator
from comfywatchman.comfyui.static_analysis.values import (
    UNKNOWN,
    AbstractDict,
    AbstractList,
    ClassInstance,
    ClassRef,
    ExternalName,
    FuncRef,
    Record,
    Value,
    is_constant,
)

_DATACLASSES: Final = frozenset({"dataclasses.dataclass", "pydantic.dataclasses.dataclass"})
_FIELD_FUNCTIONS: Final = frozenset({"dataclasses.field", "pydantic.Field", "pydantic.fields.Field"})
_TUPLE_BASES: Final = frozenset({"typing.NamedTuple"})
_MODEL_BASES: Final = frozenset({"pydantic.BaseModel"})
_FACTORIES: Final[Mapping[str, type[AbstractList | AbstractDict]]] = {
    "builtins.dict": AbstractDict,
    "builtins.list": AbstractList,
    "builtins.set": AbstractList,
    "builtins.tuple": AbstractList,
}
_MAX_BASES: Final = 20


class _ClassKind(Enum):
    """How a class makes its objects."""

    DATACLASS = auto()
    NAMED_TUPLE = auto()
    MODEL = auto()
    PLAIN = auto()


@dataclass(frozen=True, slots=True)
class _ClassField:
    """A declared attribute.

    Attributes:
        default: Its value unless a call gives another; UNKNOWN where the source does not show it.
        is_parameter: Whether a call may give it.
    """

    default: Value = UNKNOWN
    is_parameter: bool = True


def build_object(
    interpreter: ExpressionEvaluator,
    owner: ClassRef,
    arguments: list[Value],
    keywords: Mapping[str, Value],
    *,
    is_whole: bool,
) -> Value:
    """Return the object that a call of a class makes; its attributes are known as far as the source shows them.

    Args:
        interpreter: Evaluates the source.
        owner: The class.
        arguments: The positional arguments.
        keywords: The keyword arguments.
        is_whole: Whether these are certainly all.
    """
    kind = _find_kind(interpreter, owner)
    instance = ClassInstance(owner)
    if kind is _ClassKind.PLAIN:
        _run_method(interpreter, instance, "__init__", arguments, keywords, is_whole=is_whole)
        # Code that is not followed may add to a list or dict of the object.
        instance.attributes = {
            name: value if is_constant(value) else UNKNOWN for name, value in instance.attributes.items()
        }
        return instance
    attributes = _fill_fields(_list_fields(interpreter, owner), arguments, keywords, kind, is_whole=is_whole)
    if kind is _ClassKind.NAMED_TUPLE:
        return Record(list(attributes.values()), fields=tuple(attributes))
    instance.attributes = attributes
    if kind is _ClassKind.DATACLASS:
        _run_method(interpreter, instance, "__post_init__", [], {}, is_whole=True)
    return instance


def _fill_fields(
    fields: Mapping[str, _ClassField],
    arguments: list[Value],
    keywords: Mapping[str, Value],
    kind: _ClassKind,
    *,
    is_whole: bool,
) -> dict[str, Value]:
    """Return the value of each declared attribute."""
    if not is_whole:
        return dict.fromkeys(fields, UNKNOWN)
    parameters = [name for name, declared in fields.items() if declared.is_parameter]
    # A pydantic model takes no positional arguments.
    given = dict(zip(parameters, arguments if kind is not _ClassKind.MODEL else [], strict=False))
    given.update({name: value for name, value in keywords.items() if name in parameters})
    return {name: given.get(name, declared.default) for name, declared in fields.items()}


def _find_kind(interpreter: ExpressionEvaluator, owner: ClassRef, depth: int = 0) -> _ClassKind:
    for decorator in owner.node.decorator_list:
        function = decorator.func if isinstance(decorator, ast.Call) else decorator
        if _is_external(interpreter.evaluate(function, owner.scope), _DATACLASSES):
            return _ClassKind.DATACLASS
    for base in owner.node.bases:
        value = interpreter.evaluate(base, owner.scope)
        if _is_external(value, _TUPLE_BASES):
            return _ClassKind.NAMED_TUPLE
        if _is_external(value, _MODEL_BASES):
            return _ClassKind.MODEL
        if isinstance(value, ClassRef) and depth < _MAX_BASES:
            kind = _find_kind(interpreter, value, depth + 1)
            if kind is not _ClassKind.PLAIN:
                return kind
    return _ClassKind.PLAIN


def _is_external(value: Value, names: frozenset[str]) -> bool:
    return isinstance(value, ExternalName) and value.name in names


def _run_method(
    interpreter: ExpressionEvaluator,
    instance: ClassInstance,
    name: str,
    arguments: list[Value],
    keywords: Mapping[str, Value],
    *,
    is_whole: bool,
) -> None:
    """Run a method of an object, which may set attributes; nothing where its class has none."""
    method = interpreter.get_class_attribute(instance.of, name)
    if not isinstance(method, FuncRef):
        return
    if not is_whole:
        signature = method.node.args
        parameters = [*signature.posonlyargs, *signature.args, *signature.kwonlyargs]
        arguments, keywords = [], {parameter.arg: UNKNOWN for parameter in parameters[1:]}
    interpreter.call_function(FuncRef(method.scope, method.node, instance, is_bound=True), arguments, dict(keywords))


def _list_fields(interpreter: ExpressionEvaluator, owner: ClassRef, depth: int = 0) -> dict[str, _ClassField]:
    """Return the declared attributes of a class, those of its bases first."""
    fields: dict[str, _ClassField] = {}
    for base in reversed(owner.node.bases):
        value = interpreter.evaluate(base, owner.scope)
        if isinstance(value, ClassRef) and depth < _MAX_BASES:
            fields.update(_list_fields(interpreter, value, depth + 1))
    for statement in owner.node.body:
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name)) if "ClassVar" not in ast.unparse(statement.annotation):
                fields[name] = _read_field(interpreter, owner, statement.value)
    return fields


def _read_field(interpreter: ExpressionEvaluator, owner: ClassRef, default: ast.expr | None) -> _ClassField:
    scope = interpreter.read_class_body(owner)
    if not isinstance(default, ast.Call) or not _is_external(
        interpreter.evaluate(default.func, scope), _FIELD_FUNCTIONS
    ):
        return _ClassField(interpreter.evaluate(default, scope))
    options = {keyword.arg: interpreter.evaluate(keyword.value, scope) for keyword in default.keywords}
    value = options.get("default", UNKNOWN)
    if "default_factory" in options:
        value = _call_factory(interpreter, options["default_factory"])
    elif default.args and value is UNKNOWN:
        # The first argument of pydantic's `Field` is the default.
        value = interpreter.evaluate(default.args[0], scope)
    return _ClassField(value, is_parameter=options.get("init", True) is not False)


def _call_factory(interpreter: ExpressionEvaluator, factory: Value) -> Value:
    if isinstance(factory, ExternalName):
        collection = _FACTORIES.get(factory.name)
        return UNKNOWN if collection is None else collection()
    return interpreter.call(factory, [], {})
