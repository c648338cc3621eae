from __future__ import annotations

import msgspec
import pytest

from comfywatchman.base.json_values import as_list, as_mapping, as_text, decode_json


class Named(msgspec.Struct):
    name: str


OTHERS = [None, 5, 1.5, True, "", "text", [], [1], {}, {"a": 1}]


@pytest.mark.parametrize("value", OTHERS)
def test_values_of_other_types_become_empty(value: object) -> None:
    assert as_mapping(value) == (value if type(value) is dict else {})
    assert as_list(value) == (value if type(value) is list else [])
    assert as_text(value) == ("text" if value == "text" else None)


@pytest.mark.parametrize("content", [b'{"name": "\xff"}', b'{"other": ' + b"[" * 100_000, b"", b"{", b"[]", b"{}"])
def test_content_that_is_no_such_json_is_a_decode_error(content: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_json(content, Named)


def test_content_is_decoded() -> None:
    assert decode_json(b'{"name": "a"}', Named) == Named("a")
