from __future__ import annotations

import os

import pytest

from comfywatchman.base.text import format_size, os_error_text, pluralize, shorten_list


@pytest.mark.parametrize(
    ("size_bytes", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        ((1 << 20) // 10 - 1, "102 KiB"),
        ((1 << 20) // 10, "0.1 MiB"),
        (5 << 20, "5.0 MiB"),
        ((1 << 28) - 1, "256.0 MiB"),
        (1 << 28, "0.25 GiB"),
        (24 << 30, "24.00 GiB"),
    ],
)
def test_size_has_a_fitting_unit(size_bytes: int, words: str) -> None:
    assert format_size(size_bytes) == words


def test_error_text_has_no_number() -> None:
    with pytest.raises(FileNotFoundError) as absent:
        os.stat("/nowhere/at/all")
    with pytest.raises(ValueError, match="null") as impossible:
        os.stat("a\0b")
    assert os_error_text(absent.value) == "No such file or directory"
    assert os_error_text(OSError("no number")) == "no number"
    assert os_error_text(impossible.value) == str(impossible.value)


def test_noun_is_plural_unless_the_number_is_one() -> None:
    assert [pluralize(number, "package") for number in (0, 1, 2)] == ["0 packages", "1 package", "2 packages"]


def test_long_list_ends_with_a_count() -> None:
    assert shorten_list([]) == ""
    assert shorten_list(["a", "b"]) == "a, b"
    assert shorten_list(["a", "b", "c"]) == "a, b and 1 more"
    assert shorten_list(["a", "b", "c"], most=1, conjunction="or") == "a or 2 more"
