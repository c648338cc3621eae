"""How often a download is retried, and how long to wait before that (backoff, `Retry-After`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.sources.download.responses import TransientFailure

_PROGRESS_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Limits on attempts, waits, connections and size of one download.

    Attributes:
        attempts: Consecutive attempts without progress after which the download fails.
        first_wait_seconds: Wait before the second of them; it doubles with each.
        longest_wait_seconds: Longest wait; the download fails when a server asks for more.
        stall_seconds: Longest time without data from a server.
        max_bytes: Largest file that is accepted when its size is not known beforehand.
        connections: Connections at once for one large file.
    """

    attempts: int = 6
    first_wait_seconds: float = 1.0
    longest_wait_seconds: float = 60.0
    stall_seconds: float = 30.0
    max_bytes: int = 200 << 30
    connections: int = 1


def is_progress(received_bytes: int, size: int | None) -> bool:
    """Return whether an attempt received enough to start counting attempts again: 1 MiB, or 1 % of a small file."""
    # A server that breaks off after a few bytes each time must not keep a download going for ever.
    enough = _PROGRESS_BYTES
    if size:
        enough = min(enough, size // 100 + 1)
    return received_bytes >= enough


def decide_wait_seconds(policy: RetryPolicy, failure: TransientFailure, fruitless_attempts: int) -> float:
    """Return how long to wait before the next attempt.

    Args:
        policy: The limits.
        failure: The failure of the last attempt.
        fruitless_attempts: Consecutive attempts without progress, the last one included.

    Raises:
        Failure: No attempt is left, or the server asks for a longer wait than the policy allows.
    """
    # A server's `Retry-After` counts when it is longer than our own wait.
    backoff = policy.first_wait_seconds * 2.0 ** max(0, fruitless_attempts - 1)
    wait_seconds = max(failure.wait_seconds, min(backoff, policy.longest_wait_seconds))
    if fruitless_attempts < policy.attempts and wait_seconds <= policy.longest_wait_seconds:
        return wait_seconds
    hint = "Run the same command again later."
    if failure.wait_seconds:
        hint = f"Try again in {wait_seconds:.0f} seconds."
    raise Failure(failure.code, failure.message, hint=hint) from failure
