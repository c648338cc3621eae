from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from comfywatchman.base.address import parse_address
from comfywatchman.base.errors import Failure
from comfywatchman.base.stream import ConnectionPool, is_public_address
from tests.servers.base import Asked, LocalServer, Reply
from tests.servers.certificates import TlsServer, make_certificate
from tests.servers.faults import Fault, FaultServer


def anywhere(_netloc: str) -> bool:
    return True


def nowhere(_netloc: str) -> bool:
    return False


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101", "2002:101:101::"]
)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public_address(address)


PRIVATE = (
    "127.0.0.1 10.0.0.1 172.16.0.1 192.168.1.1 169.254.169.254 0.0.0.0 100.64.0.1 224.0.0.1 255.255.255.255 198.18.0.1 "
    "::1 :: fe80::1 fe80::1%eth0 fc00::1 ff02::1 2001:db8::1 ::ffff:127.0.0.1 64:ff9b::7f00:1 2002:7f00:1:: "
    "2002:a00:1:: 2001:0:4136:e378:8000:63bf:80ff:fffe"
)


@pytest.mark.parametrize("address", PRIVATE.split())
def test_addresses_of_private_networks_are_not_public(address: str) -> None:
    assert not is_public_address(address)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "127.1"]
)
def test_private_address_in_any_notation_is_refused(host: str) -> None:
    with LocalServer() as server, ConnectionPool(stall_seconds=1, may_be_private=nowhere) as connections:
        with pytest.raises(Failure) as raised:
            connections.open(parse_address(f"http://{host}:{server.port}/"), {})
        assert raised.value.code == "download-host-refused"
        assert "local_hosts" in (raised.value.hint or "")
        assert server.asked == []


def test_connection_is_reused_after_a_whole_body() -> None:
    with FaultServer(b"0123456789") as server, ConnectionPool(stall_seconds=60, may_be_private=anywhere) as connections:
        for _ in range(2):
            with connections.open(parse_address(server.url), {"Range": "bytes=2-"}) as stream:
                assert (stream.status, stream.length, stream.end_is_marked) == (206, 8, True)
                assert stream.read(3) + stream.read(99) == b"23456789"
                assert stream.read(99) == b""
        assert server.connections == 1
        with connections.open(parse_address(server.url), {}) as stream:
            stream.read(3)
        with connections.open(parse_address(server.url), {}) as stream:
            assert stream.read(99) == b"0123456789"
        assert server.connections == 2


def test_response_without_marked_end_is_detected() -> None:
    with (
        FaultServer(b"x", [Fault("no-length"), Fault("chunked")]) as server,
        ConnectionPool(stall_seconds=60, may_be_private=anywhere) as connections,
    ):
        with connections.open(parse_address(server.url), {}) as stream:
            assert (stream.length, stream.end_is_marked) == (None, False)
        with connections.open(parse_address(server.url), {}) as stream:
            assert (stream.length, stream.end_is_marked) == (None, True)
            assert stream.read(9) == b"x"
            assert stream.read(9) == b""


def test_host_header_has_unusual_ports_only() -> None:
    with (
        LocalServer({"/": Reply(b"x")}) as server,
        ConnectionPool(stall_seconds=60, may_be_private=anywhere) as connections,
    ):
        with connections.open(parse_address(server.url), {}):
            pass
        assert server.asked[0].headers["host"] == f"127.0.0.1:{server.port}"


@pytest.mark.parametrize("kind", ["head-drips", "hang-up", "garbage"])
def test_missing_response_is_a_failure(kind: str) -> None:
    began = time.monotonic()
    with (
        FaultServer(b"x", [Fault(kind)] * 3) as server,
        ConnectionPool(stall_seconds=0.3, may_be_private=anywhere) as connections,
        pytest.raises(Failure) as raised,
    ):
        connections.open(parse_address(server.url), {})
    assert raised.value.code == "http-unreachable"
    assert time.monotonic() - began < 40


def test_closed_port_and_unknown_host_are_failures() -> None:
    with LocalServer() as server:
        port = server.port
    with ConnectionPool(stall_seconds=1, may_be_private=anywhere) as connections:
        for url in (f"http://127.0.0.1:{port}/", "http://nobody.invalid/"):
            with pytest.raises(Failure) as raised:
                connections.open(parse_address(url), {})
            assert raised.value.code == "http-unreachable"


@pytest.mark.slow
def test_beginning_is_read_within_its_limits() -> None:
    with (
        FaultServer(b"y" * 100_000, [Fault("stall", 5)]) as server,
        ConnectionPool(stall_seconds=60, may_be_private=anywhere) as connections,
    ):
        with connections.open(parse_address(server.url), {}) as stream:
            # The beginning is here; only the silence after it is short.
            (connection,) = connections._busy
            connection.sock.settimeout(0.2)
            assert stream.read_beginning() == b"yyyyy"
        with connections.open(parse_address(server.url), {}) as stream:
            assert len(stream.read_beginning()) == 16 << 10


def test_abort_wakes_readers_and_prevents_requests() -> None:
    with (
        FaultServer(b"y" * 1000, [Fault("stall", 5)]) as server,
        ConnectionPool(stall_seconds=60, may_be_private=anywhere) as connections,
    ):
        with connections.open(parse_address(server.url), {}) as stream:
            assert stream.read(5) == b"yyyyy"
            threading.Timer(0.05, connections.abort).start()
            began = time.monotonic()
            assert stream.read(5) == b""
            assert time.monotonic() - began < 40
        with pytest.raises(Failure):
            connections.open(parse_address(server.url), {})


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return make_certificate(tmp_path, "localhost")


@pytest.mark.slow
def test_certificate_is_checked_against_the_host_name(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with TlsServer(certificate, {"/": Reply(b"secret")}) as server:
        place = parse_address(f"https://localhost:{server.port}/")
        with ConnectionPool(stall_seconds=60, may_be_private=anywhere) as connections:
            with pytest.raises(Failure) as raised:
                connections.open(place, {})
            assert raised.value.code == "download-host-refused"
            assert "certificate" in raised.value.message
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with ConnectionPool(stall_seconds=60, may_be_private=anywhere) as connections:
            with connections.open(place, {}) as stream:
                assert stream.read(9) == b"secret"
            with pytest.raises(Failure):
                connections.open(parse_address(f"https://127.0.0.1:{server.port}/"), {})


def test_private_hosts_are_refused_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalServer() as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        with ConnectionPool(stall_seconds=60, may_be_private=nowhere) as connections:
            for host in ("169.254.169.254", "router", "nas.local", "[fd00::1]"):
                with pytest.raises(Failure) as raised:
                    connections.open(parse_address(f"https://{host}/x"), {})
                assert raised.value.code == "download-host-refused"
        assert proxy.asked == []


def test_interim_responses_are_dropped() -> None:
    def hint(_asked: Asked, handler: BaseHTTPRequestHandler) -> None:
        early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n"
        handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n" + early * 2)
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")

    with (
        LocalServer({"/a": hint}) as server,
        ConnectionPool(stall_seconds=30, may_be_private=lambda _host: True) as pool,
        pool.open(parse_address(f"{server.url}/a"), {}) as stream,
    ):
        assert (stream.status, stream.headers.get("link"), stream.read(100)) == (200, None, b"abc")


def test_endless_interim_responses_are_a_failure() -> None:
    def hint(_asked: Asked, handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 50)

    with (
        LocalServer({"/a": hint}) as server,
        ConnectionPool(stall_seconds=30, may_be_private=lambda _host: True) as pool,
        pytest.raises(Failure) as caught,
    ):
        pool.open(parse_address(f"{server.url}/a"), {})
    assert caught.value.code == "http-unreachable"
