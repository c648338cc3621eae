"""The bytes with which a tunnel is opened, over a real connection whose other end has answered already."""

from __future__ import annotations

import socket

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.network.proxies import Proxy
from comfywatchman.base.network.tunnel import open_tunnel

HTTP = Proxy("HTTPS_PROXY", "http", "127.0.0.1", 8080)
SOCKS = Proxy("ALL_PROXY", "socks5", "127.0.0.1", 1080)


def exchange(proxy: Proxy, host: str, replies: bytes) -> tuple[bytes, bytes]:
    """Open a tunnel; return the bytes that the proxy received, and those left for the client."""
    client, server = socket.socketpair()
    with client, server:
        server.sendall(replies)
        server.shutdown(socket.SHUT_WR)
        client.settimeout(60)
        open_tunnel(client, proxy, host, 443)
        client.shutdown(socket.SHUT_WR)
        return server.makefile("rb").read(), client.makefile("rb").read()


def test_ipv6_server_has_brackets_in_connect() -> None:
    sent, _ = exchange(HTTP, "::1", b"HTTP/1.1 200 OK\r\n\r\n")
    assert sent == b"CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n\r\n"


@pytest.mark.parametrize(
    "bound",
    [b"\x01" + bytes(4), b"\x04" + bytes(16), b"\x03\x07a.local", b"\x03\x00"],
    ids=["IPv4", "IPv6", "name", "empty name"],
)
def test_socks_reply_is_read_up_to_its_end(bound: bytes) -> None:
    sent, rest = exchange(SOCKS, "hub.example", b"\x05\x00" + b"\x05\x00\x00" + bound + b"\x00\x50" + b"first")
    assert sent == b"\x05\x01\x00" + b"\x05\x01\x00\x03\x0bhub.example\x01\xbb"
    assert rest == b"first"


def test_socks_name_is_sent_in_its_ascii_form() -> None:
    sent, _ = exchange(SOCKS, "bücher.example", b"\x05\x00" + b"\x05\x00\x00\x01" + bytes(6))
    assert b"\x15xn--bcher-kva.example\x01\xbb" in sent


def test_socks_proxy_may_not_choose_a_method_that_was_not_offered() -> None:
    with pytest.raises(Failure) as raised:
        exchange(SOCKS, "hub.example", b"\x05\x02")
    assert raised.value.code == "network-settings"


@pytest.mark.parametrize("replies", [b"", b"\x05\x00", b"\x05\x00\x05\x00\x00\x01\x7f"])
def test_proxy_that_hangs_up_is_an_error(replies: bytes) -> None:
    with pytest.raises(OSError, match="closed the connection"):
        exchange(SOCKS, "hub.example", replies)
