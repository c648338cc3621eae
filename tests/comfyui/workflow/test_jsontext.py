from __future__ import annotations

import json

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.parsing.json_limits import MAX_JSON_VALUES
from comfywatchman.comfyui.workflow.jsontext import parse_json


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_encodings_of_the_editor_are_decoded(encoding: str) -> None:
    assert parse_json('{"name": "Käse 猫"}'.encode(encoding)) == ({"name": "Käse 猫"}, ())


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_file_that_the_editor_cannot_decode_is_reported(encoding: str) -> None:
    value, problems = parse_json('{"name": "Käse 猫"}'.encode(encoding))
    assert value == {"name": "Käse 猫"}
    assert [problem.code for problem in problems] == ["editor-cannot-send"]
    assert "UTF-8" in problems[0].message


def test_bare_nan_and_infinity_become_null() -> None:
    assert parse_json(b'{"a": [NaN, Infinity, -Infinity, 1.5]}') == ({"a": [None, None, None, 1.5]}, ())


def test_half_a_surrogate_pair_is_replaced_in_names_and_values_at_every_depth() -> None:
    value, problems = parse_json(rb'{"a\ud800": ["\udc80x", {"b": [["\ud800"]]}], "ok": "\ud83d\ude00"}')
    json.dumps(value, ensure_ascii=False).encode("utf-8")
    assert value == {"a�": ["�x", {"b": [["�"]]}], "ok": "😀"}
    assert problems == ()


def test_undecodable_bytes_are_replaced_and_reported() -> None:
    value, problems = parse_json(b'{"note": "caf\xe9"}')
    assert value == {"note": "caf�"}
    assert [problem.code for problem in problems] == ["text-not-utf8"]


def test_the_last_of_two_equal_keys_counts() -> None:
    assert parse_json(b'{"a": 1, "a": 2}')[0] == {"a": 2}


@pytest.mark.parametrize(
    "content", [b"", b" ", b"{", b'{"a": 1} extra', b"<html>", b"\x00\x01\x02", b"\xff\xfe", b"9" * 5000]
)
def test_invalid_json_is_a_failure(content: bytes) -> None:
    with pytest.raises(Failure) as caught:
        parse_json(content)
    assert caught.value.code == "workflow-not-json"


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a":' * 100_000, b"[" * 3000 + b"]" * 3000])
def test_nesting_beyond_the_stack_is_a_failure(content: bytes) -> None:
    with pytest.raises(Failure) as caught:
        parse_json(content)
    assert caught.value.code == "workflow-too-deep"


def test_a_file_of_more_values_than_any_workflow_is_not_parsed() -> None:
    many = b"[" + b"[]," * (MAX_JSON_VALUES // 2) + b"0]"
    with pytest.raises(Failure) as caught:
        parse_json(many)
    assert caught.value.code == "workflow-too-large"
    assert parse_json(b'["' + b"a" * MAX_JSON_VALUES + b'"]')[1] == ()
