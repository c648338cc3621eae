"""Schema versions of state files: which one this program writes, and whether a file has a later one."""

from __future__ import annotations

from typing import Any, get_args

import msgspec

from comfywatchman.base.json_values import decode_json


class _Versioned(msgspec.Struct):
    schema_version: Any = None


def known_version(shape: type[Any]) -> int | None:
    """Return the version of a shape that this program writes; None for a shape without versions."""
    # Of other shapes than structs, such as a mapping, the version is not known.
    if not hasattr(shape, "__struct_fields__"):
        return None
    for field in msgspec.structs.fields(shape):
        if field.name == "schema_version":
            # `Literal[1]` without a default is a version, too.
            values = (field.default, *get_args(field.type))
            return next((value for value in values if isinstance(value, int)), None)
    return None


def find_later_version(document: object, shape: type[Any]) -> int | None:
    """Return the version of a parsed state file when it is later than that of its shape, else None."""
    if not isinstance(document, dict):
        return None
    known = known_version(shape)
    version = document.get("schema_version")
    if known is None or type(version) is not int or version <= known:
        return None
    return version


def find_later_version_in_text(content: bytes, shape: type[Any]) -> int | None:
    """Do the same for the text of a state file, without building its values."""
    try:
        versioned = decode_json(content, _Versioned)
    except msgspec.DecodeError:
        return None
    return find_later_version({"schema_version": versioned.schema_version}, shape)
