from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.http_retry import RETRYABLE_STATUSES, build_retrying


@dataclass(frozen=True)
class Response:
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)


def repeat(*results: Response | Failure, attempts: int = 3, timeout_seconds: float = 60.0) -> tuple[Response, int]:
    """Return the last result of requests with these results, and the number of requests."""
    remaining = list(results)

    def request() -> Response:
        result = remaining.pop(0)
        if isinstance(result, Failure):
            raise result
        return result

    response: Response = build_retrying(attempts, 0.001, timeout_seconds)(request)
    return response, len(results) - len(remaining)


@pytest.mark.parametrize("status", sorted(RETRYABLE_STATUSES))
def test_retryable_status_is_tried_again(status: int) -> None:
    assert repeat(Response(status), Response(200)) == (Response(200), 2)


@pytest.mark.parametrize("status", [200, 301, 404, 501])
def test_other_status_is_final(status: int) -> None:
    assert repeat(Response(status), Response(200)) == (Response(status), 1)


def test_last_response_is_returned_after_all_attempts() -> None:
    assert repeat(*[Response(503)] * 4) == (Response(503), 3)


def test_failed_connection_is_tried_again() -> None:
    assert repeat(Failure("http-unreachable", "x"), Response(200)) == (Response(200), 2)


def test_other_failure_is_final() -> None:
    with pytest.raises(Failure) as raised:
        repeat(Failure("http-body", "x"), Response(200))
    assert raised.value.code == "http-body"


@pytest.mark.slow
def test_retry_after_extends_the_wait() -> None:
    began = time.monotonic()
    assert repeat(Response(429, {"retry-after": "1"}), Response(200))[1] == 2
    assert time.monotonic() - began >= 1


@pytest.mark.parametrize("retry_after", ["soon", "-5", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_retry_after_that_is_no_number_is_ignored(retry_after: str) -> None:
    began = time.monotonic()
    assert repeat(Response(429, {"retry-after": retry_after}), Response(200))[1] == 2
    assert time.monotonic() - began < 25


def test_wait_beyond_the_time_limit_is_not_begun() -> None:
    began = time.monotonic()
    response = Response(503, {"retry-after": "60"})
    assert repeat(response, Response(200), timeout_seconds=0.5) == (response, 1)
    assert time.monotonic() - began < 25
