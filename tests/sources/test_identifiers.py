from __future__ import annotations

import pytest

from comfywatchman.sources.identifiers import parse_commit, parse_sha256, parse_size, read_linked_sha256

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_sha256_is_lower_case_hex() -> None:
    assert parse_sha256("AB" * 32) == "ab" * 32


@pytest.mark.parametrize("text", [None, "", "a" * 63, "a" * 65, "g" * 64, "a" * 64 + "\n"])
def test_malformed_sha256_is_none(text: str | None) -> None:
    assert parse_sha256(text) is None


def test_commit_has_forty_digits() -> None:
    assert parse_commit(COMMIT) == COMMIT
    for text in (None, "", COMMIT[:-1], COMMIT + "0", COMMIT.upper(), "main"):
        assert parse_commit(text) is None


def test_size_is_a_number_of_reasonable_length() -> None:
    assert parse_size("0") == 0
    assert parse_size("9" * 18) == int("9" * 18)
    for text in (None, "", "-1", "+1", " 1", "1.5", "9" * 19, "\u0661"):
        assert parse_size(text) is None


def test_linked_sha256_is_unquoted() -> None:
    assert read_linked_sha256({"x-linked-etag": f'"{"AB" * 32}"'}) == "ab" * 32
    assert read_linked_sha256({"x-linked-etag": f' W/"{"ab" * 32}" '}) == "ab" * 32
    assert read_linked_sha256({"x-linked-etag": f'"{"a" * 40}"'}) is None
    assert read_linked_sha256({}) is None
