"""Limits of a search: time, number of requests, and a pause for servers that are unreachable or limit requests."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from comfywatchman.base.address import printable_url
from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpResponse, HttpSession, Redirects
from comfywatchman.base.network.settings import UNREACHABLE_CODES
from comfywatchman.sources.download.responses import parse_retry_after_seconds

if TYPE_CHECKING:
    from datetime import datetime

    from comfywatchman.base.clock import Clock

PATIENCE_SECONDS: Final = 60.0
"""Longest wait for a server that limits requests while a person waits for the search."""

_OK: Final = 200
_TOO_MANY_REQUESTS: Final = 429
_OVERLOADED: Final = frozenset({_TOO_MANY_REQUESTS, 503})
_MAX_ATTEMPTS: Final = 4
_FIRST_WAIT_SECONDS: Final = 1.0
_MAX_CACHED_BYTES: Final = 32 << 20
_MAX_TIMEOUTS: Final = 2


class SearchBudget:
    """Limits the time and the requests of one search; threads may share it.

    Args:
        clock: Source of the monotonic time.
        seconds: Time limit from now; None for no limit.
        requests: Limit of requests; None for no limit.
        patience_seconds: Longest wait that a server may ask for (429, 503 with `Retry-After`) before its request is
            sent again; 0 to send none again.

    Attributes:
        requests: Number of requests so far.
        unreachable: Servers that did not respond (host and port), with their first failure as a sentence.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        seconds: float | None = None,
        requests: int | None = None,
        patience_seconds: float = 0.0,
    ) -> None:
        self._clock = clock
        self._stopped = threading.Event()
        self.patience_seconds = patience_seconds
        self._deadline = None if seconds is None else clock.monotonic() + seconds
        self._max_requests = requests
        self._lock = threading.Lock()
        self._refusal: str | None = None
        self.requests = 0
        self.unreachable: dict[str, str] = {}

    def refusal(self) -> str | None:
        """Return why no further request is allowed, for people; None while the budget lasts."""
        if self._refusal is None and self._deadline is not None and self._clock.monotonic() >= self._deadline:
            # Kept, so that every later model reports the same reason.
            self._refusal = "the time budget is used up"
        return self._refusal

    def remaining_seconds(self) -> float | None:
        """Return the time that is left; None without a time limit."""
        return None if self._deadline is None else max(0.0, self._deadline - self._clock.monotonic())

    def check(self) -> None:
        """Raise a failure if the budget is used up.

        Raises:
            Failure: `search-budget`.
        """
        if self.refusal() is not None:
            raise Failure("search-budget", f"The request was not sent: {self.refusal()}.")

    def take(self) -> None:
        """Count one request.

        Raises:
            Failure: `search-budget`; the request must not be sent.
        """
        with self._lock:
            if self._max_requests is not None and self.requests >= self._max_requests:
                self._refusal = self._refusal or "the request budget is used up"
            self.check()
            self.requests += 1

    def stop(self) -> None:
        """Refuse all further requests, because a person has interrupted the search."""
        self._refusal = "it was interrupted"
        self._stopped.set()

    def now(self) -> datetime:
        """Return the current time."""
        return self._clock.now()

    def wait(self, seconds: float) -> None:
        """Wait for a server; return at once when the search is interrupted."""
        self._stopped.wait(seconds)


class BudgetedSession(HttpSession):
    """HTTP connections that count every request, and pause servers in trouble.

    A server that did not respond twice in a row, or returned 429 once, gets no further request from this session; while
    a person waits, its request is sent again first, after the time that it asks for. Downloads and the API have limits
    of their own, so HEAD and other requests are paused separately. Responses are cached while the session lives, up to
    32 MiB: models of one family lead to the same search terms.

    Args:
        budget: The budget to count against.
        timeout_seconds: As for `HttpSession`.
        max_bytes: As for `HttpSession`.
    """

    def __init__(self, budget: SearchBudget, *, timeout_seconds: float, max_bytes: int = 16 << 20) -> None:
        super().__init__(timeout_seconds=timeout_seconds, max_bytes=max_bytes)
        self._budget = budget
        self._timeouts: dict[str, int] = {}
        self._paused: dict[str, Failure] = {}
        self._limited: dict[str, Failure] = {}
        self._not_before: dict[str, float] = {}
        self._responses: dict[str, HttpResponse] = {}
        self._cached_bytes = 0
        self._refusal: Failure | None = None
        self._url_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def get(
        self,
        url: str,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        byte_range: tuple[int, int] | None = None,
        redirects: Redirects = "any",
    ) -> HttpResponse:
        """Return the response of a server; see `HttpSession.get`.

        Raises:
            Failure: `search-budget` or `search-paused` if the request is not sent, else as `HttpSession.get`.
        """
        get = super().get
        if byte_range is not None or headers is not None:
            return self._send(
                url, lambda: get(url, token=token, headers=headers, byte_range=byte_range, redirects=redirects)
            )
        # Threads with the same request wait for the response to the first one.
        with self._url_locks[url]:
            if url in self._responses:
                return self._responses[url]
            response = self._send(url, lambda: get(url, token=token, redirects=redirects))
            self._store_response(url, response)
            return response

    def head(self, url: str, *, token: str | None = None, redirects: Redirects = "origin") -> HttpResponse:
        """Return the headers of a response; see `HttpSession.head`.

        Raises:
            Failure: `search-budget` or `search-paused` if the request is not sent, else as `HttpSession.head`.
        """
        head = super().head
        return self._send(url, lambda: head(url, token=token, redirects=redirects), kind="HEAD ")

    def post_json(self, url: str, payload: object, *, token: str | None = None) -> HttpResponse:
        """Send a value; see `HttpSession.post_json`.

        Raises:
            Failure: `search-budget` or `search-paused` if the request is not sent, else as `HttpSession.post_json`.
        """
        post_json = super().post_json
        return self._send(url, lambda: post_json(url, payload, token=token))

    def refuse(self, failure: Failure) -> None:
        """Refuse all requests of this session with a failure, because its address is faulty."""
        self._refusal = failure

    def _store_response(self, url: str, response: HttpResponse) -> None:
        # Threads that add at the same time may exceed the limit a little.
        if response.status == _OK and self._cached_bytes + len(response.body) <= _MAX_CACHED_BYTES:
            self._cached_bytes += len(response.body)
            self._responses[url] = response

    def _send(self, url: str, request: Callable[[], HttpResponse], *, kind: str = "") -> HttpResponse:
        """Send a request; while a person waits, send it again to a server that is overloaded.

        Args:
            url: Its address.
            request: Sends it.
            kind: Requests of one kind share their limit on a server.
        """
        if self._refusal is not None:
            raise Failure(self._refusal.code, self._refusal.message, hint=self._refusal.hint)
        try:
            host = urlsplit(url).netloc
        except ValueError:
            # The request itself explains what is wrong with the address.
            host = ""
        response = self._attempt(host, url, request, kind)
        for number in range(1, _MAX_ATTEMPTS):
            wait_seconds = decide_wait_seconds(response, number, self._budget.patience_seconds, self._budget.now())
            if wait_seconds is None:
                break
            # Threads with other requests to this server wait as well.
            self._not_before[kind + host] = time.monotonic() + wait_seconds
            response = self._attempt(host, url, request, kind)
        if response.status == _TOO_MANY_REQUESTS:
            message = f"{host} limits its requests (HTTP 429), so it is paused for this search."
            self._limited[kind + host] = Failure("search-paused", message)
        return response

    def _attempt(self, host: str, url: str, request: Callable[[], HttpResponse], kind: str) -> HttpResponse:
        wait_seconds = self._not_before.get(kind + host, 0.0) - time.monotonic()
        if wait_seconds > 0:
            self._budget.wait(wait_seconds)
        paused = self._paused.get(host) or self._limited.get(kind + host)
        if paused is not None:
            raise Failure(paused.code, paused.message, hint=paused.hint)
        self._budget.take()
        try:
            response = request()
        except Failure as failure:
            if failure.code in UNREACHABLE_CODES:
                self._record_unreachable(host, url, failure)
            raise
        self._timeouts.pop(host, None)
        return response

    def _record_unreachable(self, host: str, url: str, failure: Failure) -> None:
        # Without the URL, whose query may hold a secret.
        reason = failure.message.replace(printable_url(url), host)
        self._budget.unreachable.setdefault(host, reason)
        if failure.code == "network-settings":
            # Neither a proxy nor a certificate changes during a search.
            self._paused[host] = failure
            return
        self._timeouts[host] = self._timeouts.get(host, 0) + 1
        if self._timeouts[host] >= _MAX_TIMEOUTS:
            message = f"{host} did not respond before, so it is paused for this search."
            self._paused[host] = Failure("http-unreachable", message)


def decide_wait_seconds(response: HttpResponse, attempts: int, patience_seconds: float, now: datetime) -> float | None:
    """Return how long to wait before a request is sent again; None to keep its response. Pure.

    Args:
        response: The response of the last attempt.
        attempts: Attempts so far.
        patience_seconds: Longest wait; 0 for none.
        now: The current time, for a `Retry-After` that is a date.
    """
    if response.status not in _OVERLOADED or patience_seconds <= 0:
        return None
    header = response.headers.get("retry-after", "")
    if header:
        wait_seconds = parse_retry_after_seconds(header, now=now)
    else:
        wait_seconds = _FIRST_WAIT_SECONDS * 2.0 ** (attempts - 1)
    return wait_seconds if wait_seconds <= patience_seconds else None
