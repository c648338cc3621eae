from __future__ import annotations

from typing import Any, Literal

import msgspec
import pytest

from comfywatchman.base.state.version import find_later_version, find_later_version_in_text, known_version


class WithDefault(msgspec.Struct):
    schema_version: int = 3


class WithLiteral(msgspec.Struct):
    name: str
    schema_version: Literal[2]


class Unversioned(msgspec.Struct):
    name: str = ""


@pytest.mark.parametrize(
    ("shape", "version"), [(WithDefault, 3), (WithLiteral, 2), (Unversioned, None), (dict[str, int], None)]
)
def test_version_of_a_shape_is_its_default_or_literal(shape: type[Any], version: int | None) -> None:
    assert known_version(shape) == version


@pytest.mark.parametrize(
    ("document", "later"),
    [
        ({"schema_version": 4}, 4),
        ({"schema_version": 3}, None),
        ({"schema_version": 0}, None),
        ({"schema_version": True}, None),
        ({"schema_version": "4"}, None),
        ({"schema_version": 4.0}, None),
        ({}, None),
        ([], None),
    ],
)
def test_later_version_is_an_integer_above_the_known_one(document: object, later: int | None) -> None:
    assert find_later_version(document, WithDefault) == later
    assert find_later_version_in_text(msgspec.json.encode(document), WithDefault) == later


def test_shape_without_a_version_has_no_later_one() -> None:
    assert find_later_version({"schema_version": 9}, Unversioned) is None


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000])
def test_damaged_text_has_no_later_version(content: bytes) -> None:
    assert find_later_version_in_text(content, WithDefault) is None
