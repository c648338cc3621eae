"""Decode JSON into typed values, and read parsed JSON of unknown form without errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TypeVar

import msgspec
import orjson

from comfywatchman.base.parsing.lone_surrogates import replace_lone_surrogates

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


def parse_loose_json(content: bytes) -> object:
    """Return the value of a JSON text as ComfyUI may write it.

    It may hold bare NaN and Infinity, and halves of surrogate pairs from names of files that are not UTF-8; the halves
    are replaced.

    Raises:
        ValueError: The text is not JSON.
        RecursionError: It is nested too deeply.
    """
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return replace_lone_surrogates(json.loads(content))


def as_mapping(value: object) -> Mapping[str, object]:
    """Return the value if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[object]:
    """Return the value if it is a JSON array, else an empty one."""
    return value if isinstance(value, list) else []


def as_text(value: object) -> str | None:
    """Return the value if it is a non-empty text, else None."""
    return value if isinstance(value, str) and value else None
