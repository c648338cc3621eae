"""Odd values for one place of a JSON document at a time, and documents in which every field of a shape is set."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import msgspec

ODD_VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    1,
    0.5,
    -1e18,
    1e308,
    1e-308,
    2**31,
    2**53 + 1,
    2**63,
    2**64 - 1,
    -(2**63),
    "",
    "x",
    "\x00\x1b[31m/../\u202e",
    "9999-12-31T23:59:59-23:59",
    "0001-01-01T00:00:00+23:59",
    "2026-11-20T14:00:00",
    [],
    {},
]
"""22 values that fit a JSON type and no meaning, or a meaning and no range."""

Place = tuple[str | int, ...]


def list_leaves(document: Any, place: Place = ()) -> Iterator[Place]:
    """Yield the place of every value in a document, containers included."""
    if place:
        yield place
    items: Any = ()
    if isinstance(document, dict):
        items = document.items()
    elif isinstance(document, list):
        # One element stands for all.
        items = enumerate(document[:1])
    for key, value in items:
        yield from list_leaves(value, (*place, key))


def replace_value(document: Any, place: Place, value: Any) -> bytes:
    """Return a document as JSON in which one place has another value."""
    document = copy.deepcopy(document)
    target = document
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    return json.dumps(document).encode()


def fill_shape(shape: Any, name: str = "") -> Any:
    """Return a JSON document of a shape in which every field has a value, optional ones too.

    Args:
        shape: A struct or another type that msgspec knows.
        name: The name of the field; names that end in `_at` and `sha256` get a time and a hash.
    """
    return _fill(msgspec.inspect.type_info(shape), name)


def _fill(info: Any, name: str) -> Any:
    kinds = msgspec.inspect
    if isinstance(info, kinds.Metadata):
        return _fill(info.type, name)
    if isinstance(info, kinds.StructType):
        return {field.encode_name: _fill(field.type, field.encode_name) for field in info.fields}
    if isinstance(info, kinds.UnionType):
        return _fill(next(part for part in info.types if not isinstance(part, kinds.NoneType)), name)
    if isinstance(info, kinds.DictType):
        return {"key": _fill(info.value_type, name)}
    if isinstance(info, kinds.TupleType | kinds.VarTupleType | kinds.ListType):
        items = info.item_types if isinstance(info, kinds.TupleType) else (info.item_type,)
        return [_fill(item, name) for item in items]
    return _fill_scalar(info, name)


def _fill_scalar(info: Any, name: str) -> Any:
    kinds = msgspec.inspect
    if isinstance(info, kinds.LiteralType):
        return info.values[0]
    if isinstance(info, kinds.EnumType):
        return next(iter(info.cls)).value
    if isinstance(info, kinds.BoolType | kinds.IntType | kinds.FloatType):
        return True if isinstance(info, kinds.BoolType) else 1
    return _fill_text(name)


def _fill_text(name: str) -> str:
    if name in {"at", "since"} or name.endswith("_at"):
        return "2026-11-20T14:00:00Z"
    if "sha256" in name:
        return "a" * 64
    return "text"
