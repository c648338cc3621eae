"""The door for large bodies: one hop at a time, to addresses that were looked at, read block by block.

`base.http` reads answers whole and lets its library choose the address behind a name. A model is too large for the
first, and its redirects come from strangers, which the second is not made for.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from typing import Final, Self

from comfywatchman import __version__
from comfywatchman.base.address import PORTS, Address, parse_address
from comfywatchman.base.errors import Failure

_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_MOST_IDLE: Final = 8
_ANSWER_BYTES: Final = 16 << 10
_ANSWER_SECONDS: Final = 5.0


def is_public_address(address: str) -> bool:
    """Say whether an IP address belongs to the open internet, also when it is wrapped in IPv6 forms of IPv4."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return is_public_address(str(inner))
    return found.is_global and not found.is_multicast


class HttpStream:
    """An answer whose body is still to be read.

    Attributes:
        place: Who answered.
        status: The HTTP status; redirects are not followed.
        headers: Values by lower-case name.
        end_is_marked: Whether a body that was cut off can be told from a whole one.
    """

    def __init__(self, place: Address, response: http.client.HTTPResponse, give_back: Callable[[], None]) -> None:
        self.place = place
        self.status = response.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.getheaders()}
        self.end_is_marked = response.chunked or response.length is not None
        self._length: int | None = None if response.chunked else response.length
        self._response = response
        self._give_back = give_back

    @property
    def length(self) -> int | None:
        """How many bytes the body has; None when the answer does not say."""
        return self._length

    def read(self, most_bytes: int) -> bytes:
        """Return what has come of the body, at most so much; empty at its end.

        Raises:
            Failure: `http-unreachable` when the server ended early, or sent nothing for the time limit.
        """
        try:
            return self._response.read1(most_bytes)
        except TimeoutError as error:
            raise Failure("http-unreachable", f"{self.place.shown} stopped sending.") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Failure("http-unreachable", f"{self.place.shown} broke off its answer.") from error

    def read_beginning(self) -> bytes:
        """Return the first part of the body, as far as it can be had soon; for answers that say why not."""
        body = b""
        deadline = time.monotonic() + _ANSWER_SECONDS
        with contextlib.suppress(Failure):
            while len(body) < _ANSWER_BYTES and time.monotonic() < deadline:
                block = self.read(_ANSWER_BYTES - len(body))
                if not block:
                    break
                body += block
        return body

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._give_back()


class ConnectionPool:
    """Connections to servers, kept for the next request when an answer was read to its end; threads may share them.

    Args:
        stall_seconds: Longest silence in an answer, and longest time for connecting and for an answer's head.
        may_be_private: Whether a host (`host:port`) may be on this machine or network; the configuration's own servers.
    """

    def __init__(self, *, stall_seconds: float, may_be_private: Callable[[str], bool]) -> None:
        self._stall_seconds = stall_seconds
        self._may_be_private = may_be_private
        self._lock = threading.Lock()
        self._idle: dict[str, list[_CheckedConnection]] = {}
        self._busy: set[_CheckedConnection] = set()
        self._aborted = False
        self._tls: ssl.SSLContext | None = None

    def open(self, place: Address, headers: Mapping[str, str]) -> HttpStream:
        """Ask for an address and return the answer once its head is there.

        Raises:
            Failure: `http-unreachable`, or `download-host-refused` for an address of a private network or a certificate
                that is not trusted.
        """
        sent = {"User-Agent": f"comfywatchman/{__version__}", "Accept-Encoding": "identity", "Accept": "*/*", **headers}
        kept = self._take(place)
        if kept is not None:
            # A server may close a kept connection at any time; only then is the request sent a second time.
            with contextlib.suppress(Failure):
                return self._ask(kept, place, sent)
        return self._ask(self._connection(place), place, sent)

    def abort(self) -> None:
        """Cut every connection, so that all who read from one wake up; nothing can be opened after that."""
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

    def _ask(self, connection: _CheckedConnection, place: Address, headers: Mapping[str, str]) -> HttpStream:
        with self._lock:
            if self._aborted:
                raise Failure("http-unreachable", f"{place.shown} is not asked any more.")
            self._busy.add(connection)
        response = None
        try:
            with _translate_errors(place), connection.limited(self._stall_seconds):
                connection.request("GET", place.target, headers=dict(headers))
                response = connection.getresponse()
        except BaseException:
            if response is not None:
                response.close()
            self._drop(connection)
            raise
        return HttpStream(place, response, lambda: self._give_back(connection, place, response))

    def _give_back(self, connection: _CheckedConnection, place: Address, response: http.client.HTTPResponse) -> None:
        is_read = response.isclosed() or (response.length == 0 and not response.chunked)
        response.close()
        if not is_read or connection.sock is None:
            self._drop(connection)
            return
        with self._lock:
            self._busy.discard(connection)
            idle = self._idle.setdefault(place.origin, [])
            if not self._aborted and len(idle) < _MOST_IDLE:
                idle.append(connection)
                return
        connection.close()

    def _drop(self, connection: _CheckedConnection) -> None:
        with self._lock:
            self._busy.discard(connection)
        connection.close()

    def _take(self, place: Address) -> _CheckedConnection | None:
        with self._lock:
            idle = self._idle.get(place.origin)
            return idle.pop() if idle else None

    def _connection(self, place: Address) -> _CheckedConnection:
        may_be_private = self._may_be_private(place.netloc)
        proxy = None if may_be_private else _find_proxy(place)
        if proxy is None:
            return _CheckedConnection(place, self._stall_seconds, self._context(place), may_be_private=may_be_private)
        _refuse_private_name(place)
        connection = _CheckedConnection(proxy, self._stall_seconds, None, may_be_private=True)
        connection.tunnel_to(place, self._context(place))
        return connection

    def _context(self, place: Address) -> ssl.SSLContext | None:
        if place.scheme == "http":
            return None
        with self._lock:
            if self._tls is None:
                from comfywatchman.base.http import create_tls_context

                self._tls = create_tls_context()
            return self._tls


class _CheckedConnection(http.client.HTTPConnection):
    """A connection to an address that was resolved and looked at here, so that a name cannot change in between."""

    def __init__(
        self, place: Address, timeout_seconds: float, tls: ssl.SSLContext | None, *, may_be_private: bool
    ) -> None:
        super().__init__(place.host, place.port, timeout=timeout_seconds)
        # The Host header names the port unless it is this one; signatures of storage servers cover that header.
        self.default_port = PORTS[place.scheme]
        self._place = place
        self._tls_name = place.host
        self._tls = tls
        self._may_be_private = may_be_private
        self._tunnel_to: Address | None = None
        self._raw: socket.socket | None = None
        self._is_cut = False

    def tunnel_to(self, place: Address, tls: ssl.SSLContext | None) -> None:
        """Let this connection to a proxy lead to another server."""
        self.set_tunnel(place.host, place.port)
        self._tunnel_to, self._tls, self._tls_name = place, tls, place.host
        self.default_port = PORTS[place.scheme]

    def connect(self) -> None:
        """Connect to the first address that answers, all of them looked at before."""
        self.sock = self._raw = _connect(self._place, self.timeout or 0.0, may_be_private=self._may_be_private)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tunnel_to is not None:
            self._tunnel()  # type: ignore[attr-defined]
        if self._tls is not None:
            self.sock = self._raw = self._tls.wrap_socket(self.sock, server_hostname=self._tls_name)

    @contextlib.contextmanager
    def limited(self, seconds: float) -> Iterator[None]:
        """Cut the connection when the block takes longer: single bytes that drip in would reset every other limit."""
        late = threading.Timer(seconds, self.cut)
        late.daemon = True
        late.start()
        try:
            yield
        finally:
            late.cancel()
        if self._is_cut:
            # http.client takes the end of the connection for the end of the head.
            raise TimeoutError

    def cut(self) -> None:
        """Wake whoever reads from it."""
        self._is_cut = True
        if self._raw is not None:
            with contextlib.suppress(OSError):
                # The plain method: that of a TLS socket would let the reader take what is still encrypted for plain.
                socket.socket.shutdown(self._raw, socket.SHUT_RDWR)


def _connect(place: Address, timeout_seconds: float, *, may_be_private: bool) -> socket.socket:
    found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    if not may_be_private and not all(is_public_address(str(address[0])) for *_, address in found):
        raise _private_address_failure(place)
    trouble: OSError = OSError("no address")
    for family, kind, protocol, _, address in found:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(timeout_seconds)
            sock.connect(address)
        except OSError as error:
            sock.close()
            trouble = error
        else:
            return sock
    raise trouble


@contextlib.contextmanager
def _translate_errors(place: Address) -> Iterator[None]:
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise Failure(
            "download-host-refused",
            f"The certificate of {place.host} is not trusted: {error.verify_message}.",
            hint="Check this machine's clock and its certificates (SSL_CERT_FILE).",
        ) from error
    except TimeoutError as error:
        raise Failure("http-unreachable", f"{place.shown} did not answer in time.") from error
    except (OSError, http.client.HTTPException, UnicodeError, ValueError) as error:
        reason = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
        raise Failure("http-unreachable", f"{place.shown} did not answer{reason}.") from error


def _find_proxy(place: Address) -> Address | None:
    if place.scheme != "https" or urllib.request.proxy_bypass(place.host):
        return None
    proxy = urllib.request.getproxies().get("https")
    return parse_address(proxy if "://" in proxy else f"http://{proxy}") if proxy else None


def _refuse_private_name(place: Address) -> None:
    """Look at a name that the proxy will resolve: an address written out or this machine's own name is told here."""
    try:
        public = is_public_address(place.host)
    except ValueError:
        public = "." in place.host and not place.host.endswith((".localhost", ".local", ".internal"))
    if not public:
        raise _private_address_failure(place)


def _private_address_failure(place: Address) -> Failure:
    return Failure(
        "download-host-refused",
        f"{place.host} is an address of this machine or of a private network.",
        hint=f"If it is a server of yours, add {place.netloc!r} to [downloads] local_hosts.",
    )
