from __future__ import annotations

import gzip
import time

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.network.bodies import BodyLimits, read_body

TEXT = b"weights " * 100
PACKED = gzip.compress(TEXT, mtime=0)


def read(*parts: bytes, encoding: str = "identity", max_bytes: int = len(TEXT), seconds: float = 60) -> bytes:
    limits = BodyLimits(max_bytes, time.monotonic() + seconds, timeout_seconds=60)
    return read_body(parts, encoding, "hub.example", limits)


def failure_of(*parts: bytes, encoding: str = "identity", max_bytes: int = len(TEXT), seconds: float = 60) -> Failure:
    with pytest.raises(Failure) as raised:
        read(*parts, encoding=encoding, max_bytes=max_bytes, seconds=seconds)
    return raised.value


def test_body_of_exactly_the_largest_size_is_read() -> None:
    assert read(TEXT[:300], b"", TEXT[300:]) == TEXT
    assert read(PACKED, encoding="gzip") == TEXT


@pytest.mark.parametrize(("body", "encoding"), [(TEXT, "identity"), (PACKED, "gzip")])
def test_one_byte_more_than_the_limit_fails(body: bytes, encoding: str) -> None:
    failure = failure_of(body, encoding=encoding, max_bytes=len(TEXT) - 1)
    assert failure.code == "http-body"
    assert "more than" in failure.message


def test_gzip_body_may_arrive_byte_by_byte() -> None:
    assert read(*(PACKED[index : index + 1] for index in range(len(PACKED))), encoding=" GZip ") == TEXT


def test_cut_or_corrupt_gzip_body_fails() -> None:
    assert "ended its response early" in failure_of(PACKED[:-1], encoding="gzip").message
    assert "corrupt" in failure_of(b"plain text", encoding="gzip").message
    # The response to a HEAD request has the header, but no body.
    assert read(encoding="gzip") == b""


def test_body_after_the_deadline_fails() -> None:
    failure = failure_of(TEXT, seconds=-1)
    assert (failure.code, failure.message) == ("http-unreachable", "hub.example did not answer within 60 seconds.")


def test_encoding_that_was_not_requested_fails() -> None:
    assert "'br'" in failure_of(TEXT, encoding="br").message
