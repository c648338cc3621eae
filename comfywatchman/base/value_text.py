"""What a configuration value must be, in words that somebody who edits TOML understands. Pure."""

from __future__ import annotations

from typing import Any, Final, cast

from msgspec import inspect as types

_ROOTS: Final = 'a list of paths such as ["~/workflows"], or of tables such as {path = "~/workflows", label = "mine"}'
_SIMPLE: Final = {types.BoolType: "true or false", types.StrType: "a text in quotes"}
_NO_LIMIT: Final = 1e6
"""A bound that nobody runs into is not told."""

_BOUNDS: Final = (("ge", "at least {}"), ("gt", "more than {}"), ("le", "at most {}"), ("lt", "less than {}"))


def describe_expected(kind: Any) -> str:
    """Return what a value of a type must be, as it follows "it must be".

    Args:
        kind: The type that the settings give the key.
    """
    return _describe_type(types.type_info(kind))


def _describe_type(info: types.Type) -> str:
    words = _SIMPLE.get(type(info))
    if words is not None:
        return words
    if isinstance(info, types.Metadata):
        return "a path in quotes" if (info.extra or {}).get("path") else _describe_type(info.type)
    if isinstance(info, (types.IntType, types.FloatType)):
        return _describe_number(info)
    if isinstance(info, types.LiteralType):
        return f"one of {', '.join(map(repr, info.values))}"
    return _describe_list(cast("types.VarTupleType", info).item_type)


def _describe_list(item: types.Type) -> str:
    if isinstance(item, types.StructType):
        return _ROOTS
    if isinstance(item, types.LiteralType):
        return f"a list, each {_describe_type(item)}"
    if isinstance(item, types.Metadata):
        return 'a list of paths such as ["/one", "/two"]'
    return 'a list of texts such as ["one", "two"]'


def _describe_number(info: types.IntType | types.FloatType) -> str:
    noun = "a whole number" if isinstance(info, types.IntType) else "a number"
    told = [(text, bound) for name, text in _BOUNDS if (bound := getattr(info, name)) is not None]
    bounds = [text.format(f"{bound:g}") for text, bound in told if bound < _NO_LIMIT]
    return f"{noun} of {' and '.join(bounds)}" if bounds else noun
