from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfywatchman.cli.text.wrapping import measure_width, wrap_command, wrap_path, wrap_text


@pytest.mark.parametrize(("text", "width"), [("", 0), ("abc", 3), ("日本", 4), ("e\N{COMBINING ACUTE ACCENT}", 1)])
def test_width_is_that_of_the_terminal(text: str, width: int) -> None:
    assert measure_width(text) == width


def test_text_breaks_between_words_only() -> None:
    assert wrap_text("one two three", 9) == ["one two", "  three"]
    assert wrap_text("one two three", 8, indent="> ", hanging="") == ["> one", "> two", "> three"]
    assert wrap_text("incomprehensibilities", 5) == ["incomprehensibilities"]
    assert wrap_text("short", 80) == ["short"]


def test_path_breaks_after_slashes_only() -> None:
    assert wrap_path("models/vae/long-name.pt", 15, indent="  ") == ["  models/vae/", "    long-name.pt"]
    assert wrap_path("models/vae/long-name.pt", 15, indent="  to ") == [
        "  to models/",
        "       vae/",
        "       long-name.pt",
    ]
    assert wrap_path("a.pt", 2, indent="") == ["a.pt"]


def test_command_breaks_between_arguments_with_a_backslash() -> None:
    assert wrap_command(("download", "a b.pt", "c.pt"), 20, indent="") == ["download 'a b.pt' \\", "  c.pt"]


# What `str.isprintable` accepts.
printable = st.characters(exclude_categories=("C", "Z"), include_characters=" ")


@pytest.mark.slow
@given(st.lists(st.text(printable, min_size=1, max_size=20), min_size=1, max_size=8), st.integers(1, 90))
def test_wrapped_command_means_the_same_to_a_shell(arguments: list[str], width: int) -> None:
    lines = wrap_command(arguments, width, indent="")
    assert shlex.split("\n".join(lines).replace(" \\\n", " ")) == arguments


@pytest.mark.slow
@given(st.lists(st.text("abc日é", min_size=1, max_size=12), min_size=1, max_size=12), st.integers(12, 60))
def test_no_line_is_wider_than_the_terminal(words: list[str], width: int) -> None:
    lines = wrap_text(" ".join(words), width, hanging="")
    assert " ".join(lines) == " ".join(words)
    assert all(measure_width(line) <= max(width, *map(measure_width, words)) for line in lines)
