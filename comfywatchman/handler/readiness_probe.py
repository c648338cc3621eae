"""Whether ComfyUI can run requests: proved by a canary at the start, and again after each sign that it is gone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, Self

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.server.canary import CanaryResult, CanaryStatus

_RETRY_SECONDS: Final = 1.0
_PROOF: Final = frozenset({CanaryStatus.RAN, CanaryStatus.EVENTS_MISSING})
"""The history is enough for requests: events only show progress."""

LOST_CODES: Final = frozenset({"handler-server-lost", "http-unreachable", "http-body"})
"""Failures of requests after which ComfyUI counts as gone."""


def wait_until_ready(
    run_canary: Callable[[], CanaryResult], *, limit_seconds: float, retry_seconds: float = _RETRY_SECONDS
) -> None:
    """Run canaries until one succeeds.

    Raises:
        Failure: `handler-server-lost`: none did in time.
    """
    deadline = time.monotonic() + limit_seconds
    while (last := run_canary()).status not in _PROOF:
        if time.monotonic() >= deadline:
            message = f"ComfyUI ran no canary within {limit_seconds:g} s: {last.reason or last.status.value}"
            raise Failure("handler-server-lost", message, hint="Look at its log, and start it again.")
        time.sleep(retry_seconds)


class ReadinessProbe:
    """Runs canaries in a thread of its own until one succeeds; used as a context manager.

    Args:
        run_canary: Runs a canary.
        retry_seconds: The pause after one that failed.
    """

    def __init__(self, run_canary: Callable[[], CanaryResult], *, retry_seconds: float = _RETRY_SECONDS) -> None:
        self._run_canary = run_canary
        self._retry_seconds = retry_seconds
        self._stop = threading.Event()
        self._wanted = threading.Event()
        self._wanted.set()
        self._thread = threading.Thread(target=self._work, name="handler-canary", daemon=True)
        self.last: CanaryResult | None = None
        self.is_ready = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._wanted.set()

    def note_success(self) -> None:
        """Note that a request succeeded, which proves more than a canary."""
        self.is_ready = True

    def note_failure(self, code: str) -> None:
        """Note why a request failed; when ComfyUI seems to be gone, a canary decides."""
        if code in LOST_CODES:
            self.is_ready = False
            self._wanted.set()

    def _work(self) -> None:
        while True:
            self._wanted.wait()
            if self._stop.is_set():
                return
            # Cleared first: a failure that is noted meanwhile starts another canary.
            self._wanted.clear()
            self.last = self._run_canary()
            if self.last.status in _PROOF:
                self.is_ready = True
            # A busy server proves nothing, but a request that succeeds meanwhile does.
            if not self.is_ready:
                self._stop.wait(self._retry_seconds)
                self._wanted.set()
