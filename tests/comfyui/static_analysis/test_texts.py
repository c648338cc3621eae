from __future__ import annotations

from comfywatchman.comfyui.static_analysis.texts import call_text_method, format_text, limit_text
from comfywatchman.comfyui.static_analysis.values import MAX_TEXT, UNKNOWN, AbstractList


def test_format_fills_positions_and_names() -> None:
    assert format_text("{}-{}", ["a", 1], {}) == "a-1"
    assert format_text("{1}{0}{name}", ["a", "b"], {"name": "c"}) == "bac"


def test_format_with_specification_is_unknown() -> None:
    assert format_text("{:>999999999}", ["a"], {}) is UNKNOWN
    assert format_text("{!r}", ["a"], {}) is UNKNOWN
    assert format_text("{9999}", ["a"], {}) is UNKNOWN


def test_texts_beyond_any_name_are_unknown() -> None:
    assert limit_text("a" * MAX_TEXT) == "a" * MAX_TEXT
    assert limit_text("a" * (MAX_TEXT + 1)) is UNKNOWN


def test_joined_text_is_limited() -> None:
    parts = AbstractList(["a"] * 100)
    assert call_text_method(",", "join", [parts], {}) == ",".join("a" * 100)
    assert call_text_method("," * (MAX_TEXT // 50), "join", [parts], {}) is UNKNOWN
    assert call_text_method(",", "join", [AbstractList(["a"], is_open=True)], {}) is UNKNOWN


def test_replace_with_long_texts_is_unknown() -> None:
    assert call_text_method("a" * 50, "replace", ["a", "b" * (MAX_TEXT // 10 + 1)], {}) is UNKNOWN


def test_wrong_number_of_arguments_is_unknown() -> None:
    assert call_text_method("a", "lower", ["b"], {}) is UNKNOWN
    assert call_text_method("a", "startswith", [], {}) is UNKNOWN
