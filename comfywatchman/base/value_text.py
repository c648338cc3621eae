"""What a configuration value must be, as text for people who edit TOML. Pure functions."""

from __future__ import annotations

from typing import Any, Final, cast

from msgspec import inspect as types

_ROOTS: Final = 'a list of paths such as ["~/workflows"], or of tables such as {path = "~/workflows", label = "mine"}'
_SIMPLE: Final = {types.BoolType: "true or false", types.StrType: "a text in quotes"}
_NO_LIMIT: Final = 1e6
"""Bounds from here on only catch nonsense and are left out of messages."""

_BOUNDS: Final = (("ge", "at least {}"), ("gt", "more than {}"), ("le", "at most {}"), ("lt", "less than {}"))


def describe_expected(annotation: Any) -> str:
    """Return what a value must be, as the text after "it must be".

    Args:
        annotation: The type annotation of the key in its settings class.
    """
    return _describe_type(types.type_info(annotation))


def _describe_type(info: types.Type) -> str:
    simple = _SIMPLE.get(type(info))
    if simple is not None:
        return simple
    if isinstance(info, types.Metadata):
        is_path = bool((info.extra or {}).get("path"))
        return "a path in quotes" if is_path else _describe_type(info.type)
    if isinstance(info, (types.IntType, types.FloatType)):
        return _describe_number(info)
    if isinstance(info, types.LiteralType):
        return f"one of {', '.join(map(repr, info.values))}"
    # Settings have no other type but tuples.
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
    bounds = []
    for attribute, template in _BOUNDS:
        bound = getattr(info, attribute)
        if bound is not None and bound < _NO_LIMIT:
            bounds.append(template.format(f"{bound:g}"))
    if not bounds:
        return noun
    return f"{noun} of {' and '.join(bounds)}"
