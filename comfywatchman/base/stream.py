"""HTTP requests for large bodies and untrusted addresses: IP addresses are checked, redirects are not followed.

`base.http` reads bodies whole and lets httpx resolve names. Models are too large for the former, and redirects of their
hosts may lead to private networks, which the latter does not prevent.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final, Self, cast

from comfywatchman import __version__
from comfywatchman.base.address import PORTS, Address
from comfywatchman.base.errors import Failure
from comfywatchman.base.network.proxies import Proxy
from comfywatchman.base.network.settings import NetworkSettings
from comfywatchman.base.network.tunnel import NestedTlsSocket, open_tunnel

# RFC 6052: the last 32 bits are an IPv4 address.
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_MAX_IDLE: Final = 8
_MAX_INTERIM_RESPONSES: Final = 20
# 101 ends HTTP on a connection; it was not asked for.
_INTERIM_STATUSES: Final = frozenset(range(100, 200)) - {101}
_BEGINNING_BYTES: Final = 16 << 10
_BEGINNING_SECONDS: Final = 5.0


def is_public_address(address: str) -> bool:
    """Return whether an IP address belongs to the public internet; IPv4 addresses embedded in IPv6 are checked, too.

    Raises:
        ValueError: The text is not an IP address.
    """
    # A scope (fe80::1%eth0) is not part of the address.
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        embedded = _extract_ipv4(parsed)
        if embedded is not None:
            return is_public_address(str(embedded))
    return parsed.is_global and not parsed.is_multicast


def _extract_ipv4(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address.ipv4_mapped:
        return address.ipv4_mapped
    if address.sixtofour:
        return address.sixtofour
    if address.teredo:
        _server, client = address.teredo
        return client
    return None


class HttpStream:
    """A response whose body has not been read yet.

    Attributes:
        address: The requested address.
        status: The HTTP status; redirects are not followed.
        headers: Header values by lower-case name.
        end_is_marked: Whether the response has a length or is chunked, so that a truncated body is detected.
    """

    def __init__(self, address: Address, response: http.client.HTTPResponse, release: Callable[[], None]) -> None:
        self.address = address
        self.status = response.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.getheaders()}
        self.end_is_marked = response.chunked or response.length is not None
        self._length: int | None = None if response.chunked else response.length
        self._response = response
        self._release = release

    @property
    def length(self) -> int | None:
        """Length of the body in bytes; None when the response does not state it."""
        return self._length

    def read(self, max_bytes: int) -> bytes:
        """Read the next part of the body, at most so many bytes; return nothing at its end.

        Raises:
            Failure: `http-unreachable` when the server closed the connection early, or sent nothing for the time limit.
        """
        try:
            return self._response.read1(max_bytes)
        except TimeoutError as error:
            raise Failure("http-unreachable", f"{self.address.printable} stopped sending.") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Failure("http-unreachable", f"{self.address.printable} ended its response early.") from error

    def read_beginning(self) -> bytes:
        """Return the beginning of the body, as far as it arrives soon; for error responses that state a reason."""
        body = b""
        deadline = time.monotonic() + _BEGINNING_SECONDS
        with contextlib.suppress(Failure):
            while len(body) < _BEGINNING_BYTES and time.monotonic() < deadline:
                block = self.read(_BEGINNING_BYTES - len(body))
                if not block:
                    break
                body += block
        return body

    def close(self) -> None:
        """Give the connection back; it is closed unless the body was read to its end."""
        self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


class ConnectionPool:
    """Keeps connections open for the next request once a response was read to its end; threads may share one pool.

    Args:
        stall_seconds: Longest silence in a response, and time limit for connecting and for the header of a response.
        may_be_private: Returns whether a host (`host:port`) may be on this machine or a private network.
    """

    def __init__(self, *, stall_seconds: float, may_be_private: Callable[[str], bool]) -> None:
        self._stall_seconds = stall_seconds
        self._may_be_private = may_be_private
        self._lock = threading.Lock()
        self._idle: dict[str, list[_CheckedConnection]] = {}
        self._busy: set[_CheckedConnection] = set()
        self._aborted = False
        self._network = NetworkSettings()

    def open(self, address: Address, headers: Mapping[str, str]) -> HttpStream:
        """Request an address and return the response as soon as its header is there.

        Raises:
            Failure: `http-unreachable`, or `download-host-refused` for an address of a private network or a certificate
                that is not trusted.
        """
        headers = {
            "User-Agent": f"comfywatchman/{__version__}",
            "Accept-Encoding": "identity",
            "Accept": "*/*",
            **headers,
        }
        idle = self._take_idle(address)
        if idle is not None:
            # A server may close an idle connection at any time; only then is the request sent a second time.
            with contextlib.suppress(Failure):
                return self._request(idle, address, headers)
        return self._request(self._create_connection(address), address, headers)

    def abort(self) -> None:
        """Cut every connection, so that blocked readers return; later calls of `open` fail."""
        with self._lock:
            self._aborted = True
            busy = list(self._busy)
        for connection in busy:
            connection.cut()

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for connections in idle.values():
            for connection in connections:
                connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _request(self, connection: _CheckedConnection, address: Address, headers: Mapping[str, str]) -> HttpStream:
        with self._lock:
            if self._aborted:
                raise Failure("http-unreachable", f"{address.printable} was not requested: downloads were stopped.")
            self._busy.add(connection)
        response = None
        try:
            with _translate_errors(address, self._network), connection.limit_time(self._stall_seconds):
                connection.request("GET", address.target, headers=dict(headers))
                response = connection.getresponse()
        except BaseException:
            if response is not None:
                response.close()
            self._discard(connection)
            raise
        return HttpStream(address, response, lambda: self._release(connection, address, response))

    def _release(self, connection: _CheckedConnection, address: Address, response: http.client.HTTPResponse) -> None:
        is_read = response.isclosed() or (response.length == 0 and not response.chunked)
        response.close()
        if not is_read or connection.sock is None:
            # The rest of the body would be taken for the next response.
            self._discard(connection)
            return
        with self._lock:
            self._busy.discard(connection)
            idle = self._idle.setdefault(address.origin, [])
            if not self._aborted and len(idle) < _MAX_IDLE:
                idle.append(connection)
                return
        connection.close()

    def _discard(self, connection: _CheckedConnection) -> None:
        with self._lock:
            self._busy.discard(connection)
        connection.close()

    def _take_idle(self, address: Address) -> _CheckedConnection | None:
        with self._lock:
            idle = self._idle.get(address.origin)
            return idle.pop() if idle else None

    def _create_connection(self, address: Address) -> _CheckedConnection:
        may_be_private = self._may_be_private(address.netloc)
        tls = self._network.tls_context() if address.scheme == "https" else None
        # The user's own servers are reached directly.
        proxy = None if may_be_private else self._network.find_proxy(address.scheme, address.host, address.port)
        if proxy is None:
            return _CheckedConnection(address, self._stall_seconds, tls, may_be_private=may_be_private)
        # The proxy resolves the name, so its addresses cannot be checked here.
        _refuse_private_name(address)
        proxy_tls = self._network.tls_context() if proxy.scheme == "https" else None
        return _ProxiedConnection(address, self._stall_seconds, tls, proxy=proxy, proxy_tls=proxy_tls)


class _FinalResponse(http.client.HTTPResponse):
    """A response; interim ones before it (1xx, such as 103 Early Hints) are dropped. Python does so for 100 only."""

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(_MAX_INTERIM_RESPONSES):
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if status not in _INTERIM_STATUSES:
                return version, status, reason
            http.client.parse_headers(self.fp)
        raise http.client.BadStatusLine("too many interim responses")


class _CheckedConnection(http.client.HTTPConnection):
    """A connection to an IP address that was checked after resolving the name, so that DNS cannot change in between."""

    response_class = _FinalResponse

    def __init__(
        self, address: Address, timeout_seconds: float, tls: ssl.SSLContext | None, *, may_be_private: bool
    ) -> None:
        super().__init__(address.host, address.port, timeout=timeout_seconds)
        # The Host header names the port unless it is this one; signatures of storage servers cover that header.
        self.default_port = PORTS[address.scheme]
        self._address = address
        self._tls = tls
        self._may_be_private = may_be_private
        self._raw: socket.socket | None = None
        self._is_cut = False

    def connect(self) -> None:
        """Connect to the first address that accepts; all of them are checked before."""
        self.sock = self._raw = _connect(self._address, self.timeout or 0.0, may_be_private=self._may_be_private)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is not None:
            self.sock = self._raw = self._tls.wrap_socket(self.sock, server_hostname=self._address.host)

    @contextlib.contextmanager
    def limit_time(self, seconds: float) -> Iterator[None]:
        """Cut the connection when the block takes longer."""
        # The socket's own timeout starts again with every byte that arrives.
        timer = threading.Timer(seconds, self.cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
        if self._is_cut:
            # http.client takes the end of the connection for the end of the header.
            raise TimeoutError

    def cut(self) -> None:
        """Shut the connection down, which wakes a blocked reader."""
        self._is_cut = True
        if self._raw is not None:
            with contextlib.suppress(OSError):
                # Not the method of the TLS socket: it removes the encryption, and the reader would get encrypted bytes.
                socket.socket.shutdown(self._raw, socket.SHUT_RDWR)


class _ProxiedConnection(_CheckedConnection):
    """A connection through a proxy, which resolves the server's name itself."""

    def __init__(
        self,
        address: Address,
        timeout_seconds: float,
        tls: ssl.SSLContext | None,
        *,
        proxy: Proxy,
        proxy_tls: ssl.SSLContext | None,
    ) -> None:
        super().__init__(address, timeout_seconds, tls, may_be_private=True)
        self._proxy = proxy
        self._proxy_tls = proxy_tls

    def connect(self) -> None:
        """Connect to the proxy, and through it to the server."""
        try:
            tunnel = self._open_tunnel()
        except (OSError, http.client.HTTPException) as error:
            reason = _describe_error(error)
            message = f"{self._address.printable} did not answer through the {self._proxy}{reason}."
            raise Failure("http-unreachable", message) from error
        if self._tls is None:
            return
        if isinstance(tunnel, ssl.SSLSocket):
            nested = NestedTlsSocket(tunnel, self._tls, self._address.host)
            self.sock = cast("socket.socket", nested)
        else:
            self.sock = self._raw = self._tls.wrap_socket(tunnel, server_hostname=self._address.host)

    def _open_tunnel(self) -> socket.socket:
        # Each step is stored at once, so that another thread can cut it, and the caller close it.
        tunnel = socket.create_connection((self._proxy.host, self._proxy.port), self.timeout)
        self.sock = self._raw = tunnel
        tunnel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._proxy_tls is not None:
            tunnel = self._proxy_tls.wrap_socket(tunnel, server_hostname=self._proxy.host)
            self.sock = self._raw = tunnel
        open_tunnel(tunnel, self._proxy, self._address.host, self._address.port)
        return tunnel


def _connect(address: Address, timeout_seconds: float, *, may_be_private: bool) -> socket.socket:
    resolved = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    if not may_be_private and not all(is_public_address(str(target[0])) for *_, target in resolved):
        raise _private_address_failure(address)
    last_error: OSError = OSError("no address")
    for family, kind, protocol, _, target in resolved:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(timeout_seconds)
            sock.connect(target)
        except OSError as error:
            sock.close()
            last_error = error
        else:
            return sock
    raise last_error


@contextlib.contextmanager
def _translate_errors(address: Address, network: NetworkSettings) -> Iterator[None]:
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise Failure(
            "download-host-refused",
            network.describe_distrust(address.host, error),
            hint="Check this machine's clock and its certificates (SSL_CERT_FILE).",
        ) from error
    except TimeoutError as error:
        raise Failure("http-unreachable", f"{address.printable} did not answer in time.") from error
    except (OSError, http.client.HTTPException, UnicodeError, ValueError) as error:
        raise Failure("http-unreachable", f"{address.printable} did not answer{_describe_error(error)}.") from error


def _describe_error(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f": {error.strerror}"
    return ""


def _refuse_private_name(address: Address) -> None:
    """Refuse IP addresses of private networks and names of this machine, which a proxy would resolve."""
    try:
        is_public = is_public_address(address.host)
    except ValueError:
        # It is a name.
        is_public = "." in address.host and not address.host.endswith((".localhost", ".local", ".internal"))
    if not is_public:
        raise _private_address_failure(address)


def _private_address_failure(address: Address) -> Failure:
    return Failure(
        "download-host-refused",
        f"{address.host} is an address of this machine or a private network.",
        hint=f"If the server is yours, add {address.netloc!r} to [downloads] local_hosts.",
    )
