"""When an HTTP request is tried again, and how long to wait before that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from comfywatchman.base.errors import Failure

if TYPE_CHECKING:
    import tenacity

RETRYABLE_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
"""Statuses of a server that is overloaded or being restarted (520 to 524: behind Cloudflare); the same request may
succeed later."""

_MAX_WAIT_SECONDS: Final = 30


class RetryableResponse(Protocol):
    """What the retry policy needs to know of a response."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Header values by lower-case name."""


def build_retrying(attempts: int, first_wait_seconds: float, timeout_seconds: float) -> tenacity.Retrying:
    """Return a caller that repeats a request while the connection fails or the status is retryable.

    The last response is returned and the last exception raised when the attempts or the time are used up.

    Args:
        attempts: How often the request is tried.
        first_wait_seconds: Longest wait before the second attempt; it doubles, and `Retry-After` may extend it.
        timeout_seconds: Time limit of all attempts and waits; no wait begins that would exceed it.
    """
    import tenacity

    # Random waits, so that clients which failed together do not come back together.
    backoff = tenacity.wait_random_exponential(multiplier=first_wait_seconds, max=_MAX_WAIT_SECONDS)
    return tenacity.Retrying(
        stop=tenacity.stop_after_attempt(attempts) | tenacity.stop_before_delay(timeout_seconds),
        wait=lambda state: max(backoff(state), _retry_after_seconds(state)),
        retry=tenacity.retry_if_result(_is_transient) | tenacity.retry_if_exception(_is_unreachable),
        retry_error_callback=_last_response,
    )


def _is_transient(response: RetryableResponse) -> bool:
    return response.status in RETRYABLE_STATUSES


def _is_unreachable(error: BaseException) -> bool:
    return isinstance(error, Failure) and error.code == "http-unreachable"


def _retry_after_seconds(state: tenacity.RetryCallState) -> float:
    outcome = state.outcome
    if outcome is None or outcome.failed:
        return 0
    # The date form of Retry-After is not supported; the usual wait applies then.
    text = outcome.result().headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else 0


def _last_response(state: tenacity.RetryCallState) -> Any:
    # tenacity calls this only after an attempt, so there is an outcome.
    return cast("tenacity.Future", state.outcome).result()
