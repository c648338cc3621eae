"""Tunnels through http, https and SOCKS 5 proxies, for connections of `base.stream`; httpx has its own."""

from __future__ import annotations

import http.client
import io
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

from comfywatchman.base.network.proxies import UNAUTHENTICATED, Proxy, build_refusal

_OK: Final = range(200, 300)
_SOCKS_VERSION: Final = 5
_NO_CREDENTIALS: Final = 0x00
_USER_AND_PASSWORD: Final = 0x02
_MAX_NAME_BYTES: Final = 255
_ADDRESS_BYTES: Final = {0x01: 4, 0x04: 16}
"""Length of an address in a SOCKS 5 reply, by its type; names (type 3) have their length before them."""
_BLOCK_BYTES: Final = 64 << 10

_T = TypeVar("_T")


def open_tunnel(sock: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    """Make a connection to a proxy a connection to a server; the proxy resolves the server's name.

    Args:
        sock: The connection to the proxy, with TLS for an `https` proxy.
        proxy: The proxy.
        host: The server.
        port: Its port.

    Raises:
        Failure: `http-unreachable` or `network-settings`: the proxy refuses.
        OSError, http.client.HTTPException: The connection failed, or the proxy does not respond as one.
    """
    if proxy.scheme == "socks5":
        _open_socks_tunnel(sock, proxy, host, port)
        return
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    lines.extend(f"{name}: {value}" for name, value in proxy.authorization.items())
    sock.sendall("\r\n".join([*lines, "", ""]).encode("ascii"))
    response = http.client.HTTPResponse(sock, method="CONNECT")
    try:
        response.begin()
        if response.status not in _OK:
            raise build_refusal(proxy, response.status)
    finally:
        # Closes the reader of the response, not the connection.
        response.close()


def _open_socks_tunnel(sock: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    # RFC 1928 and RFC 1929.
    methods = bytes([_NO_CREDENTIALS])
    if proxy.user:
        methods = bytes([_USER_AND_PASSWORD])
    sock.sendall(bytes([_SOCKS_VERSION, len(methods)]) + methods)
    version, method = _read_exactly(sock, 2)
    if version != _SOCKS_VERSION:
        raise OSError(0, "it is not a SOCKS 5 proxy")
    if method not in methods:
        raise build_refusal(proxy, UNAUTHENTICATED)
    if method == _USER_AND_PASSWORD:
        sock.sendall(b"\x01" + _with_length(proxy.user.encode()) + _with_length(proxy.password.encode()))
        if _read_exactly(sock, 2)[1] != 0:
            raise build_refusal(proxy, UNAUTHENTICATED)
    name = host.encode("idna")
    if len(name) > _MAX_NAME_BYTES:
        raise OSError(0, "the name is too long")
    sock.sendall(b"\x05\x01\x00\x03" + _with_length(name) + port.to_bytes(2, "big"))
    _version, reply, _reserved, address_type = _read_exactly(sock, 4)
    if reply != 0:
        raise build_refusal(proxy)
    size = _ADDRESS_BYTES.get(address_type) or _read_exactly(sock, 1)[0]
    _read_exactly(sock, size + 2)


def _with_length(text: bytes) -> bytes:
    return bytes([len(text)]) + text


def _read_exactly(sock: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        block = sock.recv(size - len(received))
        if not block:
            raise OSError(0, "the proxy closed the connection")
        received += block
    return received


class NestedTlsSocket:
    """TLS inside the TLS connection to an `https` proxy, with the methods of a socket that `http.client` uses.

    `ssl.SSLContext.wrap_socket` cannot wrap a connection that has TLS already.

    Args:
        outer: The connection to the proxy, after its tunnel was opened.
        context: TLS settings.
        server_hostname: Name in the certificate of the server.
    """

    def __init__(self, outer: ssl.SSLSocket, context: ssl.SSLContext, server_hostname: str) -> None:
        self._outer = outer
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)
        self._perform(self._tls.do_handshake)

    def sendall(self, content: bytes) -> None:
        """Send all bytes."""
        self._perform(self._tls.write, content)

    def receive_into(self, buffer: bytearray | memoryview) -> int:
        """Read the next bytes into a buffer; return their number, 0 at the end."""
        try:
            return self._perform(self._read_into, buffer)
        except ssl.SSLEOFError:
            # As SSLSocket: the end of the body is checked by its length.
            return 0

    def makefile(self, *_mode: Any) -> io.BufferedReader:
        """Return a reader; closing it leaves the connection open."""
        return io.BufferedReader(_NestedTlsReader(self))

    def close(self) -> None:
        """Close the connection."""
        self._outer.close()

    def _perform(self, step: Callable[..., _T], *arguments: Any) -> _T:
        """Call a step of TLS, and carry its bytes between the two connections until it is done."""
        while True:
            try:
                result = step(*arguments)
            except ssl.SSLWantReadError:
                self._send_pending()
                received = self._outer.recv(_BLOCK_BYTES)
                if received:
                    self._incoming.write(received)
                else:
                    self._incoming.write_eof()
            else:
                self._send_pending()
                return result

    def _read_into(self, buffer: bytearray | memoryview) -> int:
        # With a buffer, `read` returns a number.
        return cast("int", self._tls.read(len(buffer), buffer))

    def _send_pending(self) -> None:
        pending = self._outgoing.read()
        if pending:
            self._outer.sendall(pending)


class _NestedTlsReader(io.RawIOBase):
    def __init__(self, connection: NestedTlsSocket) -> None:
        super().__init__()
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._connection.receive_into(buffer)
