from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.stream import ConnectionPool
from comfywatchman.sources.download.redirects import (
    HostPolicy,
    ResolvedDownload,
    pin_to_commit,
    reason_to_refuse_start,
    resolve_redirects,
)
from tests.servers.base import Asked, LocalServer, Reply

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ALLOWED = HostPolicy(hosts=frozenset({"github.com"}), local_hosts=frozenset({"127.0.0.1:9"}))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://huggingface.co/a/b/resolve/main/c.safetensors", None),
        ("https://civitai.com/api/download/models/1?fileId=2", None),
        ("https://github.com/a/b/releases/download/v1/c.pth", None),
        ("http://127.0.0.1:9/x", None),
        ("http://huggingface.co/a/b/resolve/main/c.safetensors", "not encrypted"),
        ("https://huggingface.co/api/whoami-v2", "not the URL of a model file"),
        ("https://civitai.com/api/download/models/1?token=secret", "not the URL of a model file"),
        ("https://evilcivitai.com/api/download/models/1", "not an allowed download host"),
        ("https://civitai.com.evil.com/api/download/models/1", "not an allowed download host"),
        ("https://civitai.com@evil.com/api/download/models/1", "not a plain"),
        ("https://127.0.0.1/x", "not an allowed download host"),
        ("http://127.0.0.1:10/x", "not encrypted"),
        ("file:///etc/passwd", "not a plain"),
        ("ftp://github.com/x", "not a plain"),
        ("https://github.com:444/x", "not an allowed download host"),
        ("https://github.com\\@evil.com/x", "not a plain"),
        ("https://git hub.com/x", "not a plain"),
        ("https://github.com/\x00", "not a plain"),
        ("https://[::1/x", "not a plain"),
        ("https://github.com:0/", "not a plain"),
        ("https://github.com:99999/", "not a plain"),
        ("", "not a plain"),
    ],
)
def test_downloads_start_at_allowed_hosts_only(url: str, words: str | None) -> None:
    reason = reason_to_refuse_start(url, ALLOWED)
    assert (reason is None) == (words is None)
    assert words is None or words in (reason or "")


@contextmanager
def followed(url: str, *servers: LocalServer, tokens: dict[str, str] | None = None) -> Iterator[ResolvedDownload]:
    hosts = frozenset(f"127.0.0.1:{server.port}" for server in servers)
    with ConnectionPool(stall_seconds=60, may_be_private=hosts.__contains__) as connections:
        found = resolve_redirects(
            url,
            {"Range": "bytes=5-"},
            connections=connections,
            hosts=HostPolicy(local_hosts=hosts, tokens=tokens or {}),
        )
        with found.stream:
            yield found


def hub(cdn_url: str, headers: dict[str, str] | None = None) -> LocalServer:
    return LocalServer(
        {"/file": Reply(b"moved", 302, {"Location": f"{cdn_url}/blob?X-Signature=1", **(headers or {})})}
    )


def test_token_is_sent_to_its_own_origin_only() -> None:
    with LocalServer({"/blob": Reply(b"bytes")}) as cdn, hub(cdn.url) as first:
        with followed(f"{first.url}/file", first, cdn, tokens={first.url: "sesame", cdn.url: "other"}) as found:
            assert found.stream.read(99) == b"bytes"
        assert first.asked[0].headers["authorization"] == "Bearer sesame"
        assert "authorization" not in cdn.asked[0].headers
        assert cdn.asked[0].headers["range"] == "bytes=5-"
        assert cdn.asked[0].headers["accept-encoding"] == "identity"
        assert cdn.asked[0].headers["user-agent"].startswith("comfywatchman/")


def test_token_is_sent_again_after_a_redirect_back() -> None:
    with LocalServer() as first, LocalServer() as other:
        first.pages = {"/file": Reply(b"", 302, {"Location": f"{other.url}/x"}), "/end": Reply(b"bytes")}
        other.pages = {"/x": Reply(b"", 307, {"Location": f"{first.url}/end"})}
        with followed(f"{first.url}/file", first, other, tokens={first.url: "sesame"}):
            pass
        assert [one.headers.get("authorization") for one in first.asked] == ["Bearer sesame"] * 2
        assert "authorization" not in other.asked[0].headers


def test_only_the_hub_announces_hash_size_and_commit() -> None:
    said = {"X-Repo-Commit": COMMIT, "X-Linked-Size": "5", "X-Linked-Etag": f'"{"a" * 64}"'}
    lies = {"X-Linked-Size": "6", "X-Linked-Etag": f'"{"b" * 64}"'}
    for headers, kept in (
        (said, ("a" * 64, 5, COMMIT)),
        ({}, (None, None, None)),
        ({"X-Linked-Size": "9" * 5000}, (None, None, None)),
    ):
        with (
            LocalServer({"/blob": Reply(b"bytes", 200, lies)}) as cdn,
            hub(cdn.url, headers) as first,
            followed(f"{first.url}/file", first, cdn) as found,
        ):
            assert (found.sha256, found.size, found.commit) == kept


def test_redirects_on_one_server_share_a_connection() -> None:
    ports: list[int] = []

    def page(asked: Asked, handler: object) -> Reply:
        ports.append(handler.client_address[1])  # type: ignore[attr-defined]
        return Reply(b"", 302, {"Location": "/b"}) if asked.path == "/a" else Reply(b"bytes")

    with LocalServer({"/a": page, "/b": page}) as server, followed(f"{server.url}/a", server) as found:
        assert found.stream.read(9) == b"bytes"
    assert len(set(ports)) == 1


def test_invalid_token_is_not_quoted() -> None:
    with (
        LocalServer({"/file": Reply()}) as server,
        pytest.raises(Failure) as raised,
        followed(f"{server.url}/file", server, tokens={server.url: "a\nb"}),
    ):
        pass
    assert raised.value.code == "download-no-access"
    assert "a\nb" not in str(raised.value)
    assert "a\nb" not in repr(HostPolicy(tokens={"x": "a\nb"}))


def test_signatures_are_not_shown() -> None:
    with LocalServer() as cdn, hub(cdn.url) as first, followed(f"{first.url}/file", first, cdn) as found:
        assert "Signature" not in found.stream.address.printable
        assert "Signature" not in repr(found.stream.address)


def test_hugging_face_url_is_pinned_to_its_commit() -> None:
    url = "https://huggingface.co/a/b/resolve/main/c/d.safetensors"
    assert pin_to_commit(url, COMMIT) == f"https://huggingface.co/a/b/resolve/{COMMIT}/c/d.safetensors"
    assert pin_to_commit(url, None) == pin_to_commit(url, "../../evil") == url
    assert (
        pin_to_commit("https://civitai.com/api/download/models/1", COMMIT)
        == "https://civitai.com/api/download/models/1"
    )


def test_redirect_loop_is_refused() -> None:
    with LocalServer() as server:
        server.pages = {"/a": Reply(b"", 302, {"Location": "/b"}), "/b": Reply(b"", 302, {"Location": "/a"})}
        with pytest.raises(Failure) as raised, followed(f"{server.url}/a", server):
            pass
        assert raised.value.code == "download-host-refused"
        assert len(server.asked) == 2


@pytest.mark.parametrize(("redirects", "is_followed"), [(5, True), (6, False)])
def test_number_of_redirects_is_limited(redirects: int, is_followed: bool) -> None:  # noqa: FBT001 - parametrized
    with LocalServer({f"/{redirects}": Reply(b"bytes")}) as server:
        for number in range(redirects):
            server.pages[f"/{number}"] = Reply(b"", 302, {"Location": f"/{number + 1}"})
        if is_followed:
            with followed(f"{server.url}/0", server) as found:
                assert found.stream.read(9) == b"bytes"
        else:
            with pytest.raises(Failure, match="more than 6 times"), followed(f"{server.url}/0", server):
                pass


@pytest.mark.parametrize("anonymous_status", [200, 401, 403])
def test_refused_token_is_left_out_for_public_files(anonymous_status: int) -> None:
    def serve(asked: Asked, _handler: BaseHTTPRequestHandler) -> Reply:
        if "authorization" in asked.headers:
            return Reply(b"", 401, {"X-Error-Message": "Invalid credentials in Authorization header"})
        return Reply(b"public", anonymous_status)

    with LocalServer({"/m": serve}) as server:
        hosts = HostPolicy(local_hosts=frozenset({f"127.0.0.1:{server.port}"}), tokens={server.url: "expired"})
        with ConnectionPool(stall_seconds=30, may_be_private=lambda _host: True) as pool:
            for _ in range(2):
                resolved = resolve_redirects(f"{server.url}/m", {}, connections=pool, hosts=hosts)
                with resolved.stream:
                    assert resolved.stream.status == (200 if anonymous_status == 200 else 401)
        sent = ["authorization" in asked.headers for asked in server.asked]
    # A token that was refused for a public file is not sent again.
    assert sent == ([True, False, False] if anonymous_status == 200 else [True, False, True, False])


def refuse_token(otherwise: Reply) -> Callable[[Asked, BaseHTTPRequestHandler], Reply]:
    """Return a page that refuses every token."""

    def serve(asked: Asked, _handler: BaseHTTPRequestHandler) -> Reply:
        return Reply(b"", 401) if "authorization" in asked.headers else otherwise

    return serve


@pytest.mark.parametrize(
    ("status", "is_public"), [(206, True), (416, True), (404, False), (429, False), (500, False), (503, False)]
)
def test_token_is_given_up_for_a_file_only(status: int, *, is_public: bool) -> None:
    with LocalServer({"/m": refuse_token(Reply(b"text", status))}) as server:
        hosts = HostPolicy(local_hosts=frozenset({f"127.0.0.1:{server.port}"}), tokens={server.url: "expired"})
        with ConnectionPool(stall_seconds=30, may_be_private=lambda _host: True) as pool:
            resolved = resolve_redirects(f"{server.url}/m", {}, connections=pool, hosts=hosts)
            with resolved.stream:
                assert resolved.stream.status == status
    assert hosts.anonymous == ({server.url} if is_public else set())


def test_connection_is_given_back_when_the_anonymous_request_fails() -> None:
    page = refuse_token(Reply(b"", 302, {"Location": "http://unencrypted.example/m"}))
    with LocalServer({"/m": page}) as server:
        hosts = HostPolicy(local_hosts=frozenset({f"127.0.0.1:{server.port}"}), tokens={server.url: "expired"})
        with ConnectionPool(stall_seconds=30, may_be_private=lambda _host: True) as pool:
            with pytest.raises(Failure, match="unencrypted"):
                resolve_redirects(f"{server.url}/m", {}, connections=pool, hosts=hosts)
            assert not pool._busy
    assert hosts.anonymous == set()
