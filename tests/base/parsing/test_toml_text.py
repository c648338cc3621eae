from __future__ import annotations

import time
import tomllib
from typing import Any

import pytest

from comfywatchman.base.parsing.toml_text import MAX_KEY_PARTS, parse_toml


def test_values_are_read() -> None:
    assert parse_toml('[project]\nname = "a.b"\n[tool.x]\ny = 1') == {
        "project": {"name": "a.b"},
        "tool": {"x": {"y": 1}},
    }


@pytest.mark.parametrize(
    "text",
    [
        "x = ",
        "x = " + "9" * 5000,
        "x = " + "[" * 100_000,
        "a" + ".a" * 50_000 + " = 1",
        "[a" + " . a" * 50_000 + "]",
        'a."b c"' + '.a."b c"' * 50_000 + " = 1",
        "'a'" + ".'a'" * 50_000 + " = 1",
        r'"a\""' + r'."a\""' * 50_000 + " = 1",
    ],
    ids=["no value", "number", "nesting", "key", "table", "quoted parts", "literal parts", "escaped quotes"],
)
def test_unusable_text_is_refused_at_once(text: str) -> None:
    start = time.process_time()
    with pytest.raises(tomllib.TOMLDecodeError):
        parse_toml(text)
    assert time.process_time() - start < 10


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "a" * 900_000 + " = 1",
        'x = "' + "a." * 450_000 + '"',
        "x = '" + "a." * 450_000 + "'",
        "x = [" + '"numpy==1.2.3", ' * 60_000 + "]",
        "x = [" + "1.5, " * 180_000 + "]",
        "\n".join(f"a.b{n}.c.d = 1.5" for n in range(20_000)),
    ],
    ids=["one part", "text", "literal text", "texts", "numbers", "keys"],
)
def test_long_text_with_short_keys_is_read_in_a_moment(text: str) -> None:
    start = time.process_time()
    assert parse_toml(text)
    assert time.process_time() - start < 20


def test_longest_key_is_read() -> None:
    value: Any = parse_toml(".".join(["a"] * MAX_KEY_PARTS) + " = 1")
    for _ in range(MAX_KEY_PARTS):
        value = value["a"]
    assert value == 1
