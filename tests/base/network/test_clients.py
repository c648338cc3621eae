"""Search (`base.http`) and download (`base.stream`) reach the same servers under every setting of the environment."""

from __future__ import annotations

import os
import socket
import ssl
import string
import sys
from collections.abc import Callable
from pathlib import Path

import certifi
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from comfywatchman.base.address import parse_address
from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpSession
from comfywatchman.base.network.certificates import create_tls_context
from comfywatchman.base.stream import ConnectionPool
from tests.servers.base import LocalServer, Reply
from tests.servers.certificates import TlsServer, load_server_tls, make_certificate
from tests.servers.proxy import ProxyServer, SocksServer

URL = "https://hub.example/model?x=1"
BODY = b"weights" * 1000
SECRET = "hunter2"  # noqa: S105 - looked for in every message
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")

TIMEOUT_SECONDS = 30.0

Get = Callable[[str], bytes]


def search(url: str) -> bytes:
    with HttpSession(timeout_seconds=TIMEOUT_SECONDS) as session:
        response = session.get(url)
        # A second request uses the connection again.
        assert session.head(url).status == response.status == 200
        return response.body


def download(url: str) -> bytes:
    with ConnectionPool(stall_seconds=TIMEOUT_SECONDS, may_be_private=lambda _netloc: False) as connections:
        for _ in range(2):
            body = b""
            with connections.open(parse_address(url), {}) as stream:
                assert stream.status == 200
                while block := stream.read(1000):
                    body += block
        return body


both_clients = pytest.mark.parametrize("get", [search, download])


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = make_certificate(tmp_path / "certificate", "hub.example", "127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    return path


@pytest.fixture
def server(certificate: Path) -> TlsServer:
    return TlsServer(certificate, {"/model": Reply(BODY)})


def failure_of(get: Get, url: str = URL) -> Failure:
    with pytest.raises(Failure) as raised:
        get(url)
    assert SECRET not in f"{raised.value!r} {raised.value} {raised.value.__cause__!r}"
    return raised.value


@both_clients
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_proxy_leads_to_the_server(get: Get, variable: str, server: TlsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with server, ProxyServer(server.port) as proxy:
        monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
        assert get(URL) == BODY
        assert proxy.targets == ["hub.example:443"]
        assert server.asked[0].headers["host"] == "hub.example"
        assert "proxy-authorization" not in server.asked[0].headers


@both_clients
def test_proxy_gets_user_name_and_password(get: Get, server: TlsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with server, ProxyServer(server.port, credentials=f"me:{SECRET}@") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:{SECRET}%40@127.0.0.1:{proxy.port}")
        assert get(URL) == BODY
        for wrong in (f"me:{SECRET}@", "me@", ""):
            monkeypatch.setenv("HTTPS_PROXY", f"http://{wrong}127.0.0.1:{proxy.port}")
            failure = failure_of(get)
            assert failure.code == "network-settings"
            assert failure.message.startswith(f"The proxy of HTTPS_PROXY (127.0.0.1:{proxy.port}) requires")


@both_clients
def test_proxy_with_tls_leads_to_the_server(
    get: Get, server: TlsServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server, ProxyServer(server.port, credentials="me:x", tls=load_server_tls(certificate)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"https://me:x@127.0.0.1:{proxy.port}")
        assert get(URL) == BODY
        assert proxy.targets == ["hub.example:443"]


@both_clients
@pytest.mark.parametrize("credentials", ["", f"me:{SECRET}"])
def test_socks_proxy_leads_to_the_server(
    get: Get, credentials: str, server: TlsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server, SocksServer(server.port, credentials=credentials) as proxy:
        user_info = f"{credentials}@" if credentials else ""
        monkeypatch.setenv("ALL_PROXY", f"socks5://{user_info}127.0.0.1:{proxy.port}")
        assert get(URL) == BODY
        assert proxy.targets == ["hub.example:443"]


@both_clients
def test_socks_proxy_refuses(get: Get, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del certificate
    with SocksServer(0, credentials="me:x") as proxy:
        for user_info in (f"me:{SECRET}@", ""):
            monkeypatch.setenv("ALL_PROXY", f"socks5://{user_info}127.0.0.1:{proxy.port}")
            failure = failure_of(get)
            assert failure.code == "network-settings"
            assert failure.message.startswith(f"The proxy of ALL_PROXY (127.0.0.1:{proxy.port}) requires")
    with SocksServer(0, refusal=2) as proxy:
        monkeypatch.setenv("ALL_PROXY", f"socks5://127.0.0.1:{proxy.port}")
        failure = failure_of(get)
        assert failure.code == "http-unreachable"
        assert failure.message == f"The proxy of ALL_PROXY (127.0.0.1:{proxy.port}) refuses the connection."


def test_name_that_no_socks_proxy_can_carry_is_a_failure(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del certificate
    with SocksServer(0) as proxy:
        monkeypatch.setenv("ALL_PROXY", f"socks5://127.0.0.1:{proxy.port}")
        for host in ("long." * 60 + "example", "no..label"):
            assert failure_of(search, f"https://{host}/").code == "http-unreachable"


class ChatServer(ProxyServer):
    """Greets every client at once, and hangs up."""

    def speak(self, client: socket.socket) -> bytes | None:
        client.sendall(b"220 ready\r\n\r\n")
        return None


@both_clients
@pytest.mark.parametrize("scheme", ["http", "https", "socks5"])
def test_server_that_is_no_proxy_is_named(
    get: Get, scheme: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del certificate
    with ChatServer(0) as other:
        monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://127.0.0.1:{other.port}")
        failure = failure_of(get)
        assert failure.code == "http-unreachable"
        assert f"proxy of HTTPS_PROXY (127.0.0.1:{other.port})" in failure.message


@both_clients
@pytest.mark.parametrize("scheme", ["http", "socks5"])
@pytest.mark.slow
def test_silent_proxy_is_left_after_the_time_limit(
    get: Get, scheme: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del certificate
    monkeypatch.setattr(sys.modules[__name__], "TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("ALL_PROXY", f"{scheme}://127.0.0.1:{silent.getsockname()[1]}")
        assert failure_of(get).code == "http-unreachable"


@both_clients
@pytest.mark.parametrize("scheme", ["http", "https", "socks5"])
def test_absent_proxy_is_named(get: Get, scheme: str, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del certificate
    with LocalServer() as gone:
        port = gone.port
    monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://me:{SECRET}@127.0.0.1:{port}")
    failure = failure_of(get)
    assert failure.code == "http-unreachable"
    assert f"did not answer through the proxy of HTTPS_PROXY (127.0.0.1:{port})" in failure.message
    assert "refused" in failure.message


@both_clients
@pytest.mark.parametrize("status", [403, 502])
def test_refusing_proxy_is_named(get: Get, status: int, server: TlsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with server, ProxyServer(server.port, refusal=status) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        failure = failure_of(get)
        assert failure.code == "http-unreachable"
        shown = f"The proxy of HTTPS_PROXY (127.0.0.1:{proxy.port})"
        assert failure.message == f"{shown} refuses the connection ({status})."


@both_clients
def test_excluded_servers_are_reached_without_the_proxy(
    get: Get, server: TlsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "[::1],hub.example")
    monkeypatch.setenv("HTTPS_PROXY", "garbage://")
    with server:
        # The name does not exist, so the connection fails; but it does not fail because of the proxy.
        failure = failure_of(get)
        assert failure.code == "http-unreachable"
        assert "PROXY" not in failure.message


@both_clients
@pytest.mark.parametrize("value", ["garbage://", "socks4://p:1", f"http://me:{SECRET}#@p:1", "http://[", "\udcff"])
def test_unusable_proxy_is_named(get: Get, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", value)
    failure = failure_of(get)
    assert failure.code == "network-settings"
    assert failure.message == "ALL_PROXY is not the address of an http, https or socks5 proxy."


@both_clients
def test_unusable_certificates_are_named(get: Get, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = tmp_path / "empty.pem"
    empty.touch()
    os.mkfifo(tmp_path / "pipe")
    for name in ("absent.pem", ".", "empty.pem", "pipe"):
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / name))
        failure = failure_of(get)
        assert failure.code == "network-settings"
        assert failure.message.startswith("SSL_CERT_FILE names no usable certificates: ")
    monkeypatch.setenv("SSL_CERT_FILE", "")
    for path in (tmp_path / "absent", empty):
        monkeypatch.setenv("SSL_CERT_DIR", f"{path}:{path}")
        assert failure_of(get).message.startswith("SSL_CERT_DIR names no usable certificates: ")


@both_clients
def test_distrusted_server_is_reported_with_the_variable(
    get: Get, server: TlsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server, ProxyServer(server.port) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("SSL_CERT_FILE", str(make_certificate(tmp_path / "other", "hub.example")))
        beginning = "The certificate of hub.example is not trusted by those of SSL_CERT_FILE: self"
        assert failure_of(get).message.startswith(beginning)
        monkeypatch.delenv("SSL_CERT_FILE")
        assert failure_of(get).message.startswith("The certificate of hub.example is not trusted: self")
        monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
        assert "by those of SSL_CERT_DIR" in failure_of(get).message


@both_clients
@pytest.mark.slow
def test_keys_of_connections_are_not_logged(
    get: Get, server: TlsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server, ProxyServer(server.port) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        for path in (tmp_path / "keys", tmp_path / "absent" / "keys"):
            monkeypatch.setenv("SSLKEYLOGFILE", str(path))
            assert get(URL) == BODY
            assert not path.exists()


def test_http_server_is_asked_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalServer({"/model": Reply(BODY)}) as plain, ProxyServer(plain.port, credentials=f"me:{SECRET}") as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://me:{SECRET}@127.0.0.1:{proxy.port}")
        with HttpSession(timeout_seconds=TIMEOUT_SECONDS) as session:
            assert session.get("http://hub.example/model").body == BODY
        assert proxy.targets == ["http://hub.example/model"]
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        with HttpSession(timeout_seconds=TIMEOUT_SECONDS) as session, pytest.raises(Failure) as raised:
            session.get("http://hub.example/model")
        assert raised.value.code == "network-settings"


values = st.one_of(
    st.sampled_from(["http://", "socks5://", "*", "[::1]", "[", "p:1", "http://u:p@[", "/nowhere", "/", "/dev/zero"]),
    st.text(string.printable, max_size=12),
    st.text(st.characters(exclude_characters="\0", exclude_categories=()), max_size=6),
    st.builds("{}://{}@{}".format, st.sampled_from(["http", "https", "socks5"]), *[st.text(string.printable)] * 2),
)


@pytest.mark.slow
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.dictionaries(st.sampled_from(VARIABLES), values))
@example({"ALL_PROXY": "socks5://127.0.0.1:1"})
@example({"SSL_CERT_FILE": "/dev/zero"})
def test_no_value_raises_anything_but_a_failure(variables: dict[str, str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            try:
                patch.setenv(name, value)
            except (ValueError, UnicodeEncodeError):
                return
        for get in (search, download):
            with pytest.raises(Failure):
                get("https://hub.invalid/")


@pytest.mark.slow
def test_certificates_of_certifi_are_the_default() -> None:
    expected = ssl.create_default_context(cafile=certifi.where())
    actual = create_tls_context({})
    assert actual.cert_store_stats() == expected.cert_store_stats()
    assert (actual.check_hostname, actual.verify_mode) == (True, ssl.CERT_REQUIRED)
