"""How much one search may ask: a time, a number of requests, and no server that has just refused or kept silent."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from comfywatchman.base.address import printable_url
from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpResponse, HttpSession, Redirects

if TYPE_CHECKING:
    from comfywatchman.base.clock import Clock

_OK: Final = 200
_TOO_MANY_REQUESTS: Final = 429
_MAX_CACHED_BYTES: Final = 32 << 20
_MAX_TIMEOUTS: Final = 2


class SearchBudget:
    """What is left to one search; threads may share it.

    Args:
        clock: Its monotonic time counts.
        seconds: Time from now; None for no limit.
        requests: Most requests; None for no limit.

    Attributes:
        requests: How many were made.
        silent: Servers that kept silent (host and port), with what was said of that first.
    """

    def __init__(self, clock: Clock, *, seconds: float | None = None, requests: int | None = None) -> None:
        self._clock = clock
        self._until = None if seconds is None else clock.monotonic() + seconds
        self._left = requests
        self._lock = threading.Lock()
        self._refusal: str | None = None
        self.requests = 0
        self.silent: dict[str, str] = {}

    def refusal(self) -> str | None:
        """Return why nothing more is asked, in words; None while there is something left."""
        if self._refusal is None and self._until is not None and self._clock.monotonic() >= self._until:
            self._refusal = "the time for asking is over"
        return self._refusal

    def check(self) -> None:
        """Go on only while there is something left.

        Raises:
            Failure: `search-budget`.
        """
        if self.refusal() is not None:
            raise Failure("search-budget", f"Not asked: {self.refusal()}.")

    def take(self) -> None:
        """Count one request.

        Raises:
            Failure: `search-budget`; the request must not be made.
        """
        with self._lock:
            if self._left is not None and self.requests >= self._left:
                self._refusal = self._refusal or "the number of requests is used up"
            self.check()
            self.requests += 1

    def stop(self) -> None:
        """Refuse whatever is asked from now on: the person has interrupted the search."""
        self._refusal = "it was interrupted"


class BudgetedSession(HttpSession):
    """Connections whose every request is counted, and which leave a troubled server alone.

    A server that kept silent twice in a row, or once asked for patience (429), is not asked again by this session. What
    one answered is kept while the session lives, up to 32 MiB: models of one family lead to the same searches.

    Args:
        budget: What is left.
        timeout_seconds: As for `Session`.
        max_bytes: As for `Session`.
    """

    def __init__(self, budget: SearchBudget, *, timeout_seconds: float, max_bytes: int = 16 << 20) -> None:
        super().__init__(timeout_seconds=timeout_seconds, max_bytes=max_bytes)
        self._budget = budget
        self._silences: dict[str, int] = {}
        self._paused: dict[str, tuple[str, str]] = {}
        self._kept: dict[str, HttpResponse] = {}
        self._kept_bytes = 0
        self._turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def get(
        self,
        url: str,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        byte_range: tuple[int, int] | None = None,
        redirects: Redirects = "any",
    ) -> HttpResponse:
        """Return a server's answer; see `Session.get`.

        Raises:
            Failure: `search-budget` or `search-paused` when it is not asked, else as `Session.get`.
        """
        ask = super().get
        if byte_range is not None or headers is not None:
            return self._send(
                url, lambda: ask(url, token=token, headers=headers, byte_range=byte_range, redirects=redirects)
            )
        # Threads with the same question wait for the first one's answer.
        with self._turns[url]:
            if url not in self._kept:
                answer = self._send(url, lambda: ask(url, token=token, redirects=redirects))
                self._store_response(url, answer)
                return answer
            return self._kept[url]

    def head(self, url: str, *, token: str | None = None, redirects: Redirects = "origin") -> HttpResponse:
        """Return an answer's headers; see `Session.head`.

        Raises:
            Failure: `search-budget` or `search-paused` when it is not asked, else as `Session.head`.
        """
        ask = super().head
        return self._send(url, lambda: ask(url, token=token, redirects=redirects))

    def post_json(self, url: str, payload: object, *, token: str | None = None) -> HttpResponse:
        """Send a value; see `Session.post_json`.

        Raises:
            Failure: `search-budget` or `search-paused` when it is not sent, else as `Session.post_json`.
        """
        ask = super().post_json
        return self._send(url, lambda: ask(url, payload, token=token))

    def _store_response(self, url: str, answer: HttpResponse) -> None:
        # Threads that count at the same time may keep a little more than the limit.
        if answer.status == _OK and self._kept_bytes + len(answer.body) <= _MAX_CACHED_BYTES:
            self._kept_bytes += len(answer.body)
            self._kept[url] = answer

    def _send(self, url: str, ask: Callable[[], HttpResponse]) -> HttpResponse:
        origin = urlsplit(url).netloc
        if origin in self._paused:
            raise Failure(*self._paused[origin])
        self._budget.take()
        try:
            answer = ask()
        except Failure as failure:
            if failure.code == "http-unreachable":
                self._silences[origin] = self._silences.get(origin, 0) + 1
                self._budget.silent.setdefault(origin, f"{origin}{failure.message.removeprefix(printable_url(url))}")
                if self._silences[origin] >= _MAX_TIMEOUTS:
                    said = f"{origin} did not answer before, so it is left alone for now."
                    self._paused[origin] = ("http-unreachable", said)
            raise
        self._silences.pop(origin, None)
        if answer.status == _TOO_MANY_REQUESTS:
            said = f"{origin} asked for patience before, so it is left alone for now."
            self._paused[origin] = ("search-paused", said)
        return answer
