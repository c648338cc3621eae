from __future__ import annotations

import socket

import httpcore
import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.network.proxies import Proxy
from comfywatchman.base.network.socks_backend import SocksBackend
from tests.servers.base import LocalServer, Reply
from tests.servers.proxy import SocksServer


def backend(port: int) -> SocksBackend:
    return SocksBackend(Proxy("ALL_PROXY", "socks5", "127.0.0.1", port))


def test_stream_leads_to_the_server_behind_the_proxy() -> None:
    server = LocalServer({"/model": Reply(b"weights")})
    with server, SocksServer(server.port) as proxy:
        stream = backend(proxy.port).connect_tcp("hub.example", 80, timeout=60)
        stream.write(b"GET /model HTTP/1.0\r\nHost: hub.example\r\n\r\n", timeout=60)
        received = b""
        while block := stream.read(4096, timeout=60):
            received += block
        stream.close()
    assert received.endswith(b"\r\n\r\nweights")
    assert proxy.targets == ["hub.example:80"]


def test_absent_proxy_is_a_connect_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(httpcore.ConnectError):
        backend(port).connect_tcp("hub.example", 80, timeout=60)


def test_silent_proxy_is_left_after_the_time_limit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with pytest.raises(httpcore.ConnectError, match="timed out"):
            backend(listener.getsockname()[1]).connect_tcp("hub.example", 80, timeout=0.1)
        # The connection is closed: nothing follows the greeting.
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(60)
            assert connection.makefile("rb").read() == b"\x05\x01\x00"


def test_name_that_cannot_be_sent_is_a_connect_error() -> None:
    with SocksServer(0) as proxy, pytest.raises(httpcore.ConnectError):
        backend(proxy.port).connect_tcp("no..label", 80, timeout=60)
    assert proxy.targets == []


def test_refusal_stays_a_failure() -> None:
    with SocksServer(0, refusal=5) as proxy, pytest.raises(Failure) as raised:
        backend(proxy.port).connect_tcp("hub.example", 80, timeout=60)
    assert raised.value.code == "http-unreachable"
