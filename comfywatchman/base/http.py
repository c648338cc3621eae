"""The door to other servers for what fits into memory: bounded answers, tokens kept home, failures without secrets.

Bodies of any size, and addresses that strangers give, go through `base.stream`.

httpx is imported when the first request is made; it costs more start-up time than the rest of the program.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, Self, cast

import orjson

from comfywatchman import __version__
from comfywatchman.base.address import printable_url
from comfywatchman.base.errors import Failure
from comfywatchman.base.json_limits import MAX_JSON_VALUES, has_too_many_values
from comfywatchman.base.text import format_size

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

    import httpx
    import tenacity

REDIRECT_STATUSES: Final = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS: Final = 5
RETRYABLE_STATUSES: Final = frozenset({429, 500, 502, 503, 504})
TOKEN_PATTERN: Final = re.compile(r"[!-~]+")
_LOOPBACK: Final = re.compile(r"localhost|127\.[0-9.]+|::1")
_GZIP: Final = zlib.MAX_WBITS | 16
_OK: Final = range(200, 300)

Redirects = Literal["any", "origin", "none"]
"""Which redirects are followed: any but out of encryption, those that stay with the first origin, or none."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """What a server answered, whatever the status.

    Attributes:
        url: The address that answered after redirects, without user information and query: fit to be shown.
        status: The HTTP status; 3xx only when the redirect was not followed.
        headers: Header values by lower-case name.
        body: The whole body, unpacked.
    """

    url: str
    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    def parse_json(self) -> object:
        """Return the body as JSON; bare NaN and Infinity, which ComfyUI's specs hold, are read as Python does.

        Raises:
            Failure: `http-status` for a status outside 200 to 299, `http-body` for anything but JSON.
        """
        if self.status not in _OK:
            hint = "Try again later, or correct the address in the configuration."
            raise Failure("http-status", f"{self.url} answered with status {self.status}.", hint=hint)
        if has_too_many_values(self.body):
            raise Failure("http-body", f"{self.url} answered with more than {MAX_JSON_VALUES} values.")
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            pass
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise Failure(
                "http-body",
                f"{self.url} answered with something else than JSON.",
                hint="See that the address is the right one: a login page or another program may answer in its place.",
            ) from error


@dataclass(frozen=True, slots=True)
class _Request:
    """One request with what goes only to the first origin (`own`) and what goes along every redirect (`shared`)."""

    method: Literal["GET", "HEAD", "POST"]
    url: str
    redirects: Redirects
    own: Mapping[str, str] = field(repr=False)
    shared: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = field(default=None, repr=False)


class HttpSession:
    """Connections to servers, kept open from request to request; threads may share one.

    Args:
        timeout_seconds: Time for one call with its redirects, attempts and waits. A server that drips single header
            bytes can stretch it; its body cannot.
        max_bytes: Most that is read of a body, packed or unpacked.
        attempts: How often a request is tried when the connection fails or the status is 429 or 5xx.
        first_wait_seconds: Longest wait before the second attempt; it doubles, and `Retry-After` may lengthen it.
        budget_seconds: Time for all calls together, counted from now; None for no such limit.
    """

    def __init__(
        self,
        *,
        timeout_seconds: float,
        max_bytes: int = 64 << 20,
        attempts: int = 1,
        first_wait_seconds: float = 0.5,
        budget_seconds: float | None = None,
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._until = None if budget_seconds is None else time.monotonic() + budget_seconds
        self._max_bytes = max_bytes
        self._attempts = attempts
        self._first_wait_seconds = first_wait_seconds
        self._clients: dict[tuple[bool, bool], httpx.Client] = {}
        self._opening = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._clients:
            self._clients.popitem()[1].close()

    def get_json(self, url: str, *, token: str | None = None) -> object:
        """Return the JSON that a server gives for an address.

        Args:
            url: An http or https address.
            token: Sent as Bearer to this address's origin, and to no other that it redirects to.

        Raises:
            Failure: `http-unreachable`, `http-status` or `http-body`.
        """
        return self.get(url, token=token).parse_json()

    def get(
        self,
        url: str,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        byte_range: tuple[int, int] | None = None,
        redirects: Redirects = "any",
    ) -> HttpResponse:
        """Return a server's answer, also when its status is an error: the way for callers who tell statuses apart.

        Redirects are never followed from https to http; token and headers stay with the origin of `url`.

        Args:
            url: An http or https address.
            token: Sent as Bearer.
            headers: Further headers.
            byte_range: First and last byte wanted; asked for along every redirect, unpacked. The status is 206 when
                the server keeps to it.
            redirects: Which are followed; the answer to return is the redirect itself where one is not.

        Raises:
            Failure: `http-unreachable`, or `http-body` when the body is cut off, too large or packed in a strange way.
        """
        own = {**(headers or {}), **_authorization_header(token)}
        shared: dict[str, str] = {}
        if byte_range is not None:
            shared = {"Range": f"bytes={byte_range[0]}-{byte_range[1]}", "Accept-Encoding": "identity"}
        return self._answer(_Request("GET", url, redirects, own, shared))

    def head(self, url: str, *, token: str | None = None, redirects: Redirects = "origin") -> HttpResponse:
        """Return the headers that a server gives for an address; sizes are those of the unpacked content.

        A redirect to another origin is returned and not followed, unless `redirects` says otherwise.

        Raises:
            Failure: `http-unreachable`.
        """
        return self._answer(
            _Request("HEAD", url, redirects, _authorization_header(token), {"Accept-Encoding": "identity"})
        )

    def post_json(self, url: str, payload: object, *, token: str | None = None) -> HttpResponse:
        """Send a value as JSON and return the answer, whatever its status; a redirect is returned, not followed.

        The request is repeated like any other (see `attempts`), so it must be one that may arrive twice.

        Raises:
            Failure: `http-unreachable` or `http-body`.
        """
        own = {"Content-Type": "application/json", **_authorization_header(token)}
        return self._answer(_Request("POST", url, "none", own, content=orjson.dumps(payload)))

    def _answer(self, request: _Request) -> HttpResponse:
        deadline = time.monotonic() + self._timeout_seconds
        if self._until is not None:
            deadline = min(deadline, self._until)
        if self._attempts <= 1:
            return self._follow(request, deadline)
        return self._retrying()(self._follow, request, deadline)

    def _retrying(self) -> tenacity.Retrying:
        import tenacity

        backoff = tenacity.wait_random_exponential(multiplier=self._first_wait_seconds, max=30)
        return tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._attempts) | tenacity.stop_before_delay(self._timeout_seconds),
            wait=lambda state: max(backoff(state), _retry_after_seconds(state)),
            retry=tenacity.retry_if_result(_is_transient) | tenacity.retry_if_exception(_is_unreachable),
            retry_error_callback=_last_response,
        )

    def _follow(self, request: _Request, deadline: float) -> HttpResponse:
        import httpx

        try:
            place = start = httpx.URL(request.url)
            for _ in range(_MAX_REDIRECTS):
                answer = self._exchange(request, place, at_home=_origin(place) == _origin(start), deadline=deadline)
                target = None if request.redirects == "none" else _redirect_target(place, answer)
                if target is None or (request.redirects == "origin" and _origin(target) != _origin(start)):
                    return answer
                place = target
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError) as error:
            raise Failure(
                "http-unreachable", f"{printable_url(request.url)} leads to no http or https address."
            ) from error
        return answer

    def _exchange(self, request: _Request, url: httpx.URL, *, at_home: bool, deadline: float) -> HttpResponse:
        import httpx

        shown = printable_url(str(url))
        own = request.own if at_home else {}
        headers = {"User-Agent": f"comfywatchman/{__version__}", "Accept-Encoding": "gzip", **request.shared, **own}
        timeout = httpx.Timeout(max(0.001, deadline - time.monotonic()))
        answered = False
        try:
            with self._client(url).stream(
                request.method, url, headers=headers, timeout=timeout, content=request.content
            ) as response:
                answered = True
                return HttpResponse(
                    shown, response.status_code, response.headers, self._body(response, shown, deadline)
                )
        except httpx.UnsupportedProtocol:
            raise
        except httpx.TimeoutException as error:
            raise _timeout_failure(shown, self._timeout_seconds) from error
        except httpx.TransportError as error:
            if answered:
                raise Failure("http-body", f"{shown} ended its answer early.") from error
            # Other errors of the library may quote a header.
            reason = f": {error}" if isinstance(error, httpx.ConnectError) else ""
            raise Failure("http-unreachable", f"{shown} did not answer{reason}.") from error

    def _client(self, url: httpx.URL) -> httpx.Client:
        import httpx

        # Loading certificates costs 70 ms, and a proxy is no way to a server on this machine.
        plain, local = url.scheme == "http", _LOOPBACK.fullmatch(url.host) is not None
        with self._opening:
            if (plain, local) not in self._clients:
                self._clients[plain, local] = httpx.Client(verify=not plain, trust_env=not local)
            return self._clients[plain, local]

    def _body(self, response: httpx.Response, shown: str, deadline: float) -> bytes:
        packing = response.headers.get("content-encoding", "identity").strip().lower()
        if packing not in {"identity", "gzip"}:
            raise Failure("http-body", f"{shown} packed its answer as {packing[:40]!r}, which was not asked for.")
        unpacker = zlib.decompressobj(_GZIP) if packing == "gzip" else None
        body = bytearray()
        for part in response.iter_raw():
            body += part if unpacker is None else _decompress(unpacker, part, self._max_bytes + 1 - len(body), shown)
            if len(body) > self._max_bytes:
                raise Failure("http-body", f"{shown} answered with more than {format_size(self._max_bytes)}.")
            if time.monotonic() > deadline:
                raise _timeout_failure(shown, self._timeout_seconds)
        if unpacker is not None and body and not unpacker.eof:
            raise Failure("http-body", f"{shown} ended its answer early.")
        return bytes(body)


def get_json(
    url: str, *, timeout_seconds: float, max_bytes: int = 64 << 20, token: str | None = None, attempts: int = 1
) -> object:
    """Return the JSON that a server gives for an address, over a connection of its own.

    Args:
        url: An http or https address.
        timeout_seconds: Time for the whole call.
        max_bytes: Most that is read of the body.
        token: Sent as Bearer to this address's origin only.
        attempts: How often to try while the connection fails or the status is 429 or 5xx.

    Raises:
        Failure: `http-unreachable`, `http-status` or `http-body`.
    """
    with HttpSession(timeout_seconds=timeout_seconds, max_bytes=max_bytes, attempts=attempts) as session:
        return session.get_json(url, token=token)


def create_tls_context() -> ssl.SSLContext:
    """Return how servers prove themselves, for connections that are not made here; costs 70 ms."""
    import httpx

    return httpx.create_ssl_context()


def is_listening(host: str, port: int, *, timeout_seconds: float = 0.2) -> bool:
    """Say whether somebody accepts connections at a port; cheap enough to ask before every request."""
    try:
        with socket.create_connection((host, port), timeout=timeout_seconds):
            return True
    except (OSError, OverflowError, UnicodeError):
        return False


def _authorization_header(token: str | None) -> dict[str, str]:
    if not token:
        return {}
    if not TOKEN_PATTERN.fullmatch(token):
        # Said here, because the library's own complaint would quote the token.
        raise Failure(
            "http-unreachable",
            "The access token holds characters that no HTTP header can carry.",
            hint="Copy the key again, without spaces or line breaks.",
        )
    return {"Authorization": f"Bearer {token}"}


def _redirect_target(place: httpx.URL, answer: HttpResponse) -> httpx.URL | None:
    """Return where an answer redirects to, or None when it does not or must not be followed."""
    location = answer.headers.get("location")
    if answer.status not in REDIRECT_STATUSES or not location:
        return None
    target = place.join(location)
    return None if place.scheme == "https" and target.scheme == "http" else target


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _decompress(unpacker: zlib._Decompress, part: bytes, max_bytes: int, shown: str) -> bytes:
    try:
        return unpacker.decompress(part, max_bytes)
    except zlib.error as error:
        raise Failure("http-body", f"{shown} answered with a damaged gzip body.") from error


def _timeout_failure(shown: str, timeout_seconds: float) -> Failure:
    return Failure("http-unreachable", f"{shown} did not answer within {timeout_seconds:g} seconds.")


def _is_transient(answer: HttpResponse) -> bool:
    return answer.status in RETRYABLE_STATUSES


def _is_unreachable(error: BaseException) -> bool:
    return isinstance(error, Failure) and error.code == "http-unreachable"


def _retry_after_seconds(state: tenacity.RetryCallState) -> float:
    outcome = state.outcome
    if outcome is None or outcome.failed:
        return 0
    text = outcome.result().headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else 0


def _last_response(state: tenacity.RetryCallState) -> HttpResponse:
    # tenacity asks for it only after an attempt, which has an outcome.
    return cast("HttpResponse", cast("tenacity.Future", state.outcome).result())
