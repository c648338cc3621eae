"""HTTP requests whose responses fit into memory: size limits, retries, tokens for one origin, errors without secrets.

`base.stream` is for bodies of any size and for addresses from untrusted sources.

httpx is imported with the first request: importing it takes longer than starting the rest of the program.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, Self

import orjson

from comfywatchman import __version__
from comfywatchman.base.address import PORTS, printable_url
from comfywatchman.base.errors import Failure
from comfywatchman.base.http_retry import build_retrying
from comfywatchman.base.json_values import parse_loose_json
from comfywatchman.base.network.bodies import BodyLimits, build_timeout_failure, read_body
from comfywatchman.base.network.proxies import UNAUTHENTICATED, Proxy, build_refusal
from comfywatchman.base.network.settings import NetworkSettings
from comfywatchman.base.parsing.json_limits import MAX_JSON_VALUES, has_too_many_values

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

    import httpx

REDIRECT_STATUSES: Final = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS: Final = 5
TOKEN_PATTERN: Final = re.compile(r"[!-~]+")
_ERROR_NUMBER: Final = re.compile(r"\[Errno -?\d+\] ")
"""Python's prefix of a system error; people need only the words after it."""

_OK: Final = range(200, 300)

Redirects = Literal["any", "origin", "none"]
"""Which redirects are followed: all (but never from https to http), those to the same origin, or none."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A server's response with any status.

    Attributes:
        url: The address that responded, after redirects, without user information and query: safe to show.
        status: The HTTP status; 3xx only when the redirect was not followed.
        headers: Header values by name, in any case.
        body: The whole body, decompressed.
    """

    url: str
    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    def parse_json(self) -> object:
        """Parse the body as JSON.

        Raises:
            Failure: `http-status` for a status outside 200 to 299, `http-body` when the body is not JSON.
        """
        if self.status not in _OK:
            hint = "Try again later, or correct the address in the configuration."
            raise Failure("http-status", f"{self.url} returned status {self.status}.", hint=hint)
        if has_too_many_values(self.body):
            raise Failure("http-body", f"{self.url} returned more than {MAX_JSON_VALUES} values.")
        try:
            return parse_loose_json(self.body)
        except (ValueError, RecursionError) as error:
            raise Failure(
                "http-body",
                f"{self.url} did not return JSON.",
                hint="Check the address: a login page or another program may respond in its place.",
            ) from error


@dataclass(frozen=True, slots=True)
class _Request:
    """One request.

    Attributes:
        method: The HTTP method.
        url: The first address.
        redirects: Which redirects are followed.
        own: Headers for the origin of `url` only.
        shared: Headers that are sent along every redirect.
        content: The body.
    """

    method: Literal["GET", "HEAD", "POST"]
    url: str
    redirects: Redirects
    own: Mapping[str, str] = field(repr=False)
    shared: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = field(default=None, repr=False)


class HttpSession:
    """Keeps connections open from request to request; threads may share one session.

    Args:
        timeout_seconds: Time limit of one call with its redirects, attempts and waits. A server that sends single
            header bytes slowly can exceed it; a slow body cannot.
        max_bytes: Largest body, compressed or not.
        attempts: How often a request is tried when the connection fails or the status is retryable.
        first_wait_seconds: Longest wait before the second attempt; it doubles, and `Retry-After` may extend it.
        budget_seconds: Time limit of all calls together, starting now; None for no limit.
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
        self._budget_deadline = None if budget_seconds is None else time.monotonic() + budget_seconds
        self._max_bytes = max_bytes
        self._attempts = attempts
        self._first_wait_seconds = first_wait_seconds
        self._network = NetworkSettings()
        self._clients: dict[tuple[bool, Proxy | None], httpx.Client] = {}
        self._opening = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._clients:
            self._clients.popitem()[1].close()

    def get_json(self, url: str, *, token: str | None = None) -> object:
        """Request an address and return the JSON of the response.

        Args:
            url: An http or https address.
            token: Sent as Bearer token to the origin of `url` only.

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
        """Request an address and return the response, whatever its status.

        Redirects are never followed from https to http; token and headers are sent to the origin of `url` only.

        Args:
            url: An http or https address.
            token: Sent as Bearer token.
            headers: More headers.
            byte_range: First and last byte; requested along every redirect, uncompressed. The status is 206 when the
                server supports it.
            redirects: Which are followed; one that is not is returned as the response.

        Raises:
            Failure: `http-unreachable`, or `http-body` when the body is cut off, too large or compressed in a way that
                was not requested.
        """
        own = {**(headers or {}), **_authorization_header(token)}
        shared: dict[str, str] = {}
        if byte_range is not None:
            first, last = byte_range
            shared = {"Range": f"bytes={first}-{last}", "Accept-Encoding": "identity"}
        return self._perform(_Request("GET", url, redirects, own, shared))

    def head(self, url: str, *, token: str | None = None, redirects: Redirects = "origin") -> HttpResponse:
        """Request the headers of an address; sizes are those of the uncompressed content.

        By default, a redirect to another origin is returned, not followed.

        Raises:
            Failure: `http-unreachable`.
        """
        return self._perform(
            _Request("HEAD", url, redirects, _authorization_header(token), {"Accept-Encoding": "identity"})
        )

    def post_json(self, url: str, payload: object, *, token: str | None = None) -> HttpResponse:
        """Send a value as JSON and return the response, whatever its status; a redirect is returned, not followed.

        The request is retried like any other (see `attempts`), so it must be safe to send twice.

        Raises:
            Failure: `http-unreachable` or `http-body`.
        """
        return self.post(url, orjson.dumps(payload), content_type="application/json", token=token)

    def post(self, url: str, content: bytes, *, content_type: str, token: str | None = None) -> HttpResponse:
        """Send a body and return the response; everything else is as for `post_json`."""
        own = {"Content-Type": content_type, **_authorization_header(token)}
        return self._perform(_Request("POST", url, "none", own, content=content))

    def _perform(self, request: _Request) -> HttpResponse:
        deadline = time.monotonic() + self._timeout_seconds
        if self._budget_deadline is not None:
            deadline = min(deadline, self._budget_deadline)
        if self._attempts <= 1:
            return self._follow_redirects(request, deadline)
        retry = build_retrying(self._attempts, self._first_wait_seconds, self._timeout_seconds)
        return retry(self._follow_redirects, request, deadline)

    def _follow_redirects(self, request: _Request, deadline: float) -> HttpResponse:
        import httpx

        try:
            start = url = httpx.URL(request.url)
            for _ in range(_MAX_REDIRECTS):
                is_own_origin = _origin(url) == _origin(start)
                response = self._exchange(request, url, is_own_origin=is_own_origin, deadline=deadline)
                if request.redirects == "none":
                    return response
                target = _redirect_target(url, response)
                if target is None:
                    return response
                if request.redirects == "origin" and _origin(target) != _origin(start):
                    return response
                url = target
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError) as error:
            raise Failure(
                "http-unreachable", f"{printable_url(request.url)} does not lead to an http or https address."
            ) from error
        # Too many redirects: the last one is the response.
        return response

    def _exchange(self, request: _Request, url: httpx.URL, *, is_own_origin: bool, deadline: float) -> HttpResponse:
        import httpx

        if url.scheme not in PORTS or not url.host:
            raise httpx.UnsupportedProtocol("not an http or https address")
        shown = printable_url(str(url))
        headers = {"User-Agent": f"comfywatchman/{__version__}", "Accept-Encoding": "gzip", **request.shared}
        if is_own_origin:
            headers |= request.own
        timeout = httpx.Timeout(max(0.001, deadline - time.monotonic()))
        proxy = self._network.find_proxy(url.scheme, url.host, url.port or PORTS[url.scheme])
        has_responded = False
        try:
            with self._client(url, proxy).stream(
                request.method, url, headers=headers, timeout=timeout, content=request.content
            ) as response:
                has_responded = True
                if proxy is not None and response.status_code == UNAUTHENTICATED:
                    raise build_refusal(proxy, response.status_code)
                limits = BodyLimits(self._max_bytes, deadline, self._timeout_seconds)
                encoding = response.headers.get("content-encoding", "identity")
                body = read_body(response.iter_raw(), encoding, shown, limits)
                return HttpResponse(shown, response.status_code, response.headers, body)
        except httpx.UnsupportedProtocol:
            raise
        except httpx.TimeoutException as error:
            raise build_timeout_failure(shown, self._timeout_seconds) from error
        except httpx.TransportError as error:
            if has_responded:
                raise Failure("http-body", f"{shown} ended its response early.") from error
            raise self._build_connection_failure(error, shown, url.host, proxy) from error

    def _build_connection_failure(
        self, error: httpx.TransportError, shown: str, host: str, proxy: Proxy | None
    ) -> Failure:
        import httpx

        if isinstance(error, httpx.ProxyError) and proxy is not None:
            # httpx gives the status of a refused CONNECT at the beginning of its message only.
            status = str(error)[:3]
            return build_refusal(proxy, int(status) if status.isdigit() else None)
        distrust = _find_certificate_error(error)
        if distrust is not None:
            return Failure("http-unreachable", self._network.describe_distrust(host, distrust))
        # Other errors of httpx may quote a header, and with it a token.
        reason = f": {_ERROR_NUMBER.sub('', str(error))}" if isinstance(error, httpx.ConnectError) else ""
        through = f" through the {proxy}" if proxy is not None else ""
        return Failure("http-unreachable", f"{shown} did not answer{through}{reason}.")

    def _client(self, url: httpx.URL, proxy: Proxy | None) -> httpx.Client:
        # Loading certificates takes 70 ms and is not needed for http.
        needs_tls = url.scheme == "https" or (proxy is not None and proxy.scheme == "https")
        with self._opening:
            if (needs_tls, proxy) not in self._clients:
                tls = self._network.tls_context() if needs_tls else None
                self._clients[needs_tls, proxy] = _create_client(proxy, tls)
            return self._clients[needs_tls, proxy]


def get_json(
    url: str, *, timeout_seconds: float, max_bytes: int = 64 << 20, token: str | None = None, attempts: int = 1
) -> object:
    """Request an address over a new connection and return the JSON of the response.

    Args:
        url: An http or https address.
        timeout_seconds: Time limit of the whole call.
        max_bytes: Largest body.
        token: Sent as Bearer token to the origin of `url` only.
        attempts: How often the request is tried when the connection fails or the status is retryable.

    Raises:
        Failure: `http-unreachable`, `http-status` or `http-body`.
    """
    with HttpSession(timeout_seconds=timeout_seconds, max_bytes=max_bytes, attempts=attempts) as session:
        return session.get_json(url, token=token)


def is_listening(host: str, port: int, *, timeout_seconds: float = 0.2) -> bool:
    """Return whether a port accepts connections; fast enough to call before every request."""
    try:
        with socket.create_connection((host, port), timeout=timeout_seconds):
            return True
    except (OSError, OverflowError, UnicodeError):
        return False


def _create_client(proxy: Proxy | None, tls: ssl.SSLContext | None) -> httpx.Client:
    import httpx

    # httpx would read the environment again, in its own way, and raises errors of many types for values it rejects.
    if proxy is None:
        return httpx.Client(verify=tls or False, trust_env=False)
    if proxy.scheme == "socks5":
        return httpx.Client(transport=_create_socks_transport(proxy, tls), trust_env=False)
    auth = (proxy.user, proxy.password) if proxy.user or proxy.password else None
    proxy_tls = tls if proxy.scheme == "https" else None
    settings = httpx.Proxy(f"{proxy.scheme}://{proxy.netloc}", ssl_context=proxy_tls, auth=auth)
    return httpx.Client(verify=tls or False, trust_env=False, proxy=settings)


def _create_socks_transport(proxy: Proxy, tls: ssl.SSLContext | None) -> httpx.HTTPTransport:
    import httpcore
    import httpx

    from comfywatchman.base.network.socks_backend import SocksBackend

    transport = httpx.HTTPTransport(verify=tls or False, trust_env=False)
    pool = httpcore.ConnectionPool(ssl_context=tls, network_backend=SocksBackend(proxy))
    transport._pool = pool  # noqa: SLF001 - httpx has no argument for it
    return transport


def _find_certificate_error(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    """Return the certificate error that caused an error of httpx; None for another cause."""
    import ssl

    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error


def _authorization_header(token: str | None) -> dict[str, str]:
    if not token:
        return {}
    if not TOKEN_PATTERN.fullmatch(token):
        # httpx would quote the token in its own error.
        raise Failure(
            "http-unreachable",
            "The access token contains characters that HTTP headers do not allow.",
            hint="Copy the key again, without spaces or line breaks.",
        )
    return {"Authorization": f"Bearer {token}"}


def _redirect_target(url: httpx.URL, response: HttpResponse) -> httpx.URL | None:
    """Return the address that a response redirects to, or None when it does not or must not be followed."""
    location = response.headers.get("location")
    if response.status not in REDIRECT_STATUSES or not location:
        return None
    target = url.join(location)
    if url.scheme == "https" and target.scheme == "http":
        return None
    return target


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
