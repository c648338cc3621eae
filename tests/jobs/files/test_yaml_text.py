from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfywatchman.jobs.files.problems import JobFileError
from comfywatchman.jobs.files.yaml_text import MAX_DEPTH, parse_yaml


def parse(text: str) -> dict[str, Any]:
    return parse_yaml(text.encode()).value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("050", 50),
        ("-3", -3),
        ("0o17", 15),
        ("0x1F", 31),
        ("18446744073709551615", 18446744073709551615),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("true", True),
        ("False", False),
        ("NO", "NO"),
        ("yes", "yes"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("2026-01-31", "2026-01-31"),
        ("null", None),
        ("~", None),
        ("", None),
        ('"50"', "50"),
        ("'true'", "true"),
        ("a red fox", "a red fox"),
        ("=", "="),
    ],
)
def test_values_have_the_types_of_yaml_1_2(text: str, value: object) -> None:
    found = parse(f"x: {text}")["x"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"---\n", b"~\n", b"\n\n"])
def test_empty_file_is_an_empty_mapping(content: bytes) -> None:
    assert parse_yaml(content).value == {}


def test_lines_of_fields_are_those_of_their_names() -> None:
    document = parse_yaml(b"a: 1\n\ninputs:\n  prompt: >\n    long\n    text\n  list:\n    - 1\n    - x: 2\n")
    assert document.lines["a"] == 1
    assert document.lines["inputs"] == 3
    assert document.lines["inputs.prompt"] == 4
    assert document.lines["inputs.list.1"] == 9
    assert document.lines["inputs.list.1.x"] == 9


def test_numbers_as_names_are_text() -> None:
    assert parse("45: a\ntrue: b\n") == {"45": "a", "true": "b"}


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "given twice"),
        ("a:\n  b: [1, 2\n", None, "not valid YAML"),
        ("a: 1\n\tb: 2\n", 2, "not valid YAML"),
        ("a: !!python/object/apply:os.system ['true']\n", 1, "Tags such as"),
        ("a: !!binary aGk=\n", 1, "Tags such as"),
        ("a: !!int x\n", 1, "not a number"),
        ("a: !!bool x\n", 1, "Tags such as"),
        ("a: !!float x\n", 1, "not a finite number"),
        ("a: !!set {x}\n", 1, "Tags such as"),
        ("a: !!omap [x: 1]\n", 1, "Tags such as"),
        ("a: .inf\n", 1, "not a finite number"),
        ("a: 1e999\n", 1, "not a finite number"),
        ("a: 18446744073709551616\n", 1, "not a number that ComfyUI can hold"),
        (f"a: {'9' * 5000}\n", 1, "not a number that ComfyUI can hold"),
        ('a: "\\0"\n', 1, "cannot be stored"),
        ('a: "\\ud800"\n', 1, "cannot be stored"),
        ('a: "\\UFFFFFFFF"\n', None, "not valid YAML"),
        ("- a\n- b\n", 1, "not a list of fields"),
        ("just text\n", 1, "not a list of fields"),
        ("a: 1\n---\nb: 2\n", 2, "not valid YAML"),
        ("? [a, b]\n: 1\n", 1, "name of a field must be plain text"),
        ("a: *b\n", 1, "not valid YAML"),
        ("a: \x01\n", 1, "character that YAML does not allow"),
        ("%YAML 3.0\n---\na: 1\n", 1, "not valid YAML"),
    ],
)
def test_other_content_is_refused_with_its_line(text: str, line: int | None, reason: str) -> None:
    with pytest.raises(JobFileError, match=reason) as caught:
        parse(text)
    if line is not None:
        assert caught.value.problems[0].line == line


@pytest.mark.parametrize("text", ["[" * 500, "{a: " * 2000, "a:\n" + " - " * 500 + "x", "- " * 3000])
def test_deep_nesting_is_refused(text: str) -> None:
    with pytest.raises(JobFileError):
        parse(text)


def test_nesting_up_to_the_limit_is_accepted() -> None:
    depth = MAX_DEPTH - 1
    value = parse("a: " + "[" * depth + "]" * depth)["a"]
    assert str(value).count("[") == depth


def test_aliases_that_stand_for_millions_of_values_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    with pytest.raises(JobFileError, match="more than"):
        parse("\n".join(lines))


def test_alias_within_its_own_anchor_is_refused() -> None:
    with pytest.raises(JobFileError, match="nested"):
        parse("a: &x [*x]\n")


def test_alias_is_a_copy() -> None:
    assert parse("a: &x {n: 1}\nb: *x\n") == {"a": {"n": 1}, "b": {"n": 1}}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_of_editors_are_read(encoding: str) -> None:
    assert parse_yaml("a: Füchsin 🦊\n".encode(encoding)).value == {"a": "Füchsin 🦊"}


def test_latin_1_is_refused_with_its_line() -> None:
    with pytest.raises(JobFileError, match="not UTF-8") as caught:
        parse_yaml("a: 1\nb: Füchsin\n".encode("latin-1"))
    assert caught.value.problems[0].line == 2


@pytest.mark.parametrize("text", ["a: [1, 2", "a: {b: 1,", 'a: "begun', "a: 'begun", "a: [1,\n\n"])
def test_text_that_ends_too_early_is_incomplete(text: str) -> None:
    with pytest.raises(JobFileError) as caught:
        parse(text)
    assert caught.value.is_incomplete


def test_fault_in_the_middle_is_not_incomplete() -> None:
    with pytest.raises(JobFileError) as caught:
        parse("a: [1, 2}\nb: 3\n")
    assert not caught.value.is_incomplete


@pytest.mark.slow
@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused(content: bytes) -> None:
    with suppress(JobFileError):
        parse_yaml(content)


@pytest.mark.slow
@settings(deadline=None)
@given(st.text(alphabet="ab:-[]{}&*!|>'\"#%@`,? \n\t\\0é", max_size=60))
def test_any_text_of_yaml_signs_is_parsed_or_refused(text: str) -> None:
    with suppress(JobFileError):
        parse_yaml(text.encode())
