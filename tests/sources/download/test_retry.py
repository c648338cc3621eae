from __future__ import annotations

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.sources.download.responses import TransientFailure
from comfywatchman.sources.download.retry import RetryPolicy, decide_wait_seconds, is_progress

POLICY = RetryPolicy(attempts=5, first_wait_seconds=1.0, longest_wait_seconds=6.0)
MIB = 1 << 20


@pytest.mark.parametrize(("fruitless_attempts", "wait_seconds"), [(0, 1.0), (1, 1.0), (2, 2.0), (3, 4.0), (4, 6.0)])
def test_wait_doubles_up_to_the_longest(fruitless_attempts: int, wait_seconds: float) -> None:
    assert decide_wait_seconds(POLICY, TransientFailure("cut"), fruitless_attempts) == wait_seconds


def test_server_may_ask_for_a_longer_wait() -> None:
    assert decide_wait_seconds(POLICY, TransientFailure("busy", wait_seconds=5.0), 1) == 5.0


def test_wait_beyond_the_longest_fails_with_a_time() -> None:
    failure = TransientFailure("busy", wait_seconds=90.0, code="download-later")
    with pytest.raises(Failure) as raised:
        decide_wait_seconds(POLICY, failure, 1)
    assert raised.value.code == "download-later"
    assert raised.value.hint == "Try again in 90 seconds."


def test_last_attempt_fails() -> None:
    with pytest.raises(Failure) as raised:
        decide_wait_seconds(POLICY, TransientFailure("cut"), 5)
    assert (raised.value.code, raised.value.message) == ("download-interrupted", "cut")


@pytest.mark.parametrize(
    ("received_bytes", "size", "expected"),
    [
        (MIB, None, True),
        (MIB - 1, None, False),
        (MIB, 1 << 40, True),
        (101, 10_000, True),
        (100, 10_000, False),
        (0, 1, False),
        (MIB - 1, 0, False),
    ],
)
def test_progress_is_one_mib_or_one_percent(received_bytes: int, size: int | None, expected: bool) -> None:  # noqa: FBT001 - parametrized
    assert is_progress(received_bytes, size) == expected
