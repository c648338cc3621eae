"""Real http, https and SOCKS 5 proxies on 127.0.0.1; every name leads to one server of the test."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import threading
from types import TracebackType
from typing import Self


class ProxyServer:
    """Connects its clients with one server, whatever name they ask for; `targets` holds these names.

    Args:
        upstream_port: Port of the server on 127.0.0.1.
        credentials: `user:password` that clients have to give; any client may connect when empty.
        refusal: Status for every CONNECT; for SOCKS its reply code.
        tls: Settings of an https proxy.
    """

    def __init__(
        self, upstream_port: int, *, credentials: str = "", refusal: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        self.targets: list[str] = []
        self._upstream_port = upstream_port
        self._credentials = credentials
        self._refusal = refusal
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def speak(self, client: socket.socket) -> bytes | None:
        """Do what the client asks before its bytes go to the server; return bytes for the server, None to hang up."""
        head = b""
        while b"\r\n\r\n" not in head:
            block = client.recv(4096)
            if not block:
                return None
            head += block
        lines = head.decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split()
        self.targets.append(target)
        wanted = base64.b64encode(self._credentials.encode()).decode()
        if self._credentials and f"proxy-authorization: basic {wanted}".lower() not in [line.lower() for line in lines]:
            client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return None
        if self._refusal:
            client.sendall(f"HTTP/1.1 {self._refusal} Refused\r\nContent-Length: 0\r\n\r\n".encode())
            return None
        if method == "CONNECT":
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            return b""
        path = "/" + target.split("/", 3)[3]
        return head.replace(target.encode("latin-1"), path.encode("latin-1"), 1)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
            stack.enter_context(client)
            first = self.speak(client)
            if first is None:
                return
            server = stack.enter_context(socket.create_connection(("127.0.0.1", self._upstream_port)))
            server.sendall(first)
            back = threading.Thread(target=_copy, args=(server, client), daemon=True)
            back.start()
            _copy(client, server)
            back.join()


class SocksServer(ProxyServer):
    """The same for SOCKS 5 (RFC 1928), in the smallest packets that TCP may deliver."""

    def speak(self, client: socket.socket) -> bytes | None:
        version, count = _receive(client, 2)
        methods = _receive(client, count)
        method = 2 if self._credentials else 0
        if version != 5 or method not in methods:
            client.sendall(b"\x05\xff")
            return None
        client.sendall(bytes([5, method]))
        if method == 2:
            user = _receive(client, _receive(client, 2)[1])
            password = _receive(client, _receive(client, 1)[0])
            accepted = f"{user.decode()}:{password.decode()}" == self._credentials
            client.sendall(b"\x01\x00" if accepted else b"\x01\x01")
            if not accepted:
                return None
        size = _receive(client, 5)[4]
        name = _receive(client, size).decode()
        port = int.from_bytes(_receive(client, 2), "big")
        self.targets.append(f"{name}:{port}")
        client.sendall(bytes([5, self._refusal, 0, 1, 127, 0, 0, 1, 0, 80]))
        return None if self._refusal else b""


def _receive(client: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        block = client.recv(size - len(received))
        if not block:
            raise OSError("the client hung up")
        received += block
    return received


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while block := source.recv(1 << 16):
            target.sendall(block)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
