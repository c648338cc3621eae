"""Decode JSON into typed values, and read parsed JSON of unknown form without errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec

T = TypeVar("T")


def decode_json(content: bytes | bytearray | str, shape: type[T]) -> T:
    """Return the value of a JSON text.

    Args:
        content: The text.
        shape: The type of the value.

    Raises:
        msgspec.DecodeError: The text is not JSON, not UTF-8 or nested too deeply, or the value has another type or is
            out of range.
    """
    try:
        return msgspec.json.decode(content, type=shape)
    except (UnicodeDecodeError, RecursionError) as error:
        # msgspec itself raises these two as they are.
        raise msgspec.DecodeError(str(error)) from error


def as_mapping(value: object) -> Mapping[str, object]:
    """Return the value if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[object]:
    """Return the value if it is a JSON array, else an empty one."""
    return value if isinstance(value, list) else []


def as_text(value: object) -> str | None:
    """Return the value if it is a non-empty text, else None."""
    return value if isinstance(value, str) and value else None
