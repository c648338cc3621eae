from __future__ import annotations

import errno
import os

import pytest

from comfywatchman.base.text import (
    MAX_SHOWN_TEXT,
    describe_os_remedy,
    format_beside,
    format_decimal_size,
    format_size,
    os_error_text,
    pluralize,
    shorten_list,
    shorten_text,
)


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


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 kB"), (1, "1 kB"), (98_300_000, "98 MB"), (335_000_000, "335 MB"), (2_528_373_448, "2.5 GB")],
)
def test_download_size_has_a_decimal_unit(size_bytes: int, text: str) -> None:
    assert format_decimal_size(size_bytes) == text


def test_noun_that_ends_with_s_has_its_own_plural() -> None:
    assert (pluralize(1, "node class"), pluralize(2, "node class")) == ("1 node class", "2 node classes")


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


@pytest.mark.parametrize(
    ("value", "limit", "digits", "text"),
    [
        (5.5, 6.0, 2, "5.50"),
        (5.9996, 6.0, 2, "5.9996"),
        (6.0, 6.0, 2, "6.00"),
        (119.7, 120.0, 0, "119.7"),
        (90.04, 90.0, 1, "90.04"),
        (6 - 1e-12, 6.0, 2, "5.999999999999"),
    ],
)
def test_value_beside_a_limit_has_the_digits_to_differ(value: float, limit: float, digits: int, text: str) -> None:
    assert format_beside(value, limit, digits=digits) == text


def test_long_text_is_cut_with_its_length() -> None:
    assert shorten_text("a" * MAX_SHOWN_TEXT) == "a" * MAX_SHOWN_TEXT
    assert shorten_text("abcdef", most=3) == "abc… (6 characters)"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EISDIR, "folder is in the place"),
        (errno.EMFILE, "too many files open"),
        (errno.ENOSPC, "disk is full"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permissions"),
    ],
)
def test_each_error_of_the_system_has_its_own_remedy(number: int, words: str) -> None:
    assert words in describe_os_remedy(OSError(number, os.strerror(number)))
