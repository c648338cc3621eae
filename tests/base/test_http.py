from __future__ import annotations

import contextlib
import gzip
import socket
import subprocess
import sys
import threading
import traceback
import tracemalloc
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import httpx
import pytest

from comfywatchman import __version__
from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpResponse, HttpSession, _redirect_target, get_json, is_listening
from comfywatchman.base.parsing.json_limits import MAX_JSON_VALUES
from tests.servers.base import Asked, LocalServer, Reply

TOKEN = "s3cret-t0ken"  # noqa: S105 - looked for in every message


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer() as running:
        yield running


def failure_of(url: str, *, token: str | None = None, timeout_seconds: float = 60, max_bytes: int = 1 << 20) -> Failure:
    with pytest.raises(Failure) as caught:
        get_json(url, timeout_seconds=timeout_seconds, max_bytes=max_bytes, token=token)
    return caught.value


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def test_json_is_returned_and_user_agent_sent(server: LocalServer) -> None:
    server.pages["/a"] = Reply(b'{"x": [1, null]}')
    assert get_json(f"{server.url}/a?q=1", timeout_seconds=60) == {"x": [1, None]}
    assert server.asked[0].path == "/a?q=1"
    assert server.asked[0].headers["user-agent"] == f"comfywatchman/{__version__}"
    assert "authorization" not in server.asked[0].headers


def test_nan_and_infinity_are_read(server: LocalServer) -> None:
    server.pages["/a"] = Reply(b'{"max": Infinity}')
    assert get_json(f"{server.url}/a", timeout_seconds=60) == {"max": float("inf")}


def test_gzip_body_is_decompressed(server: LocalServer) -> None:
    server.pages["/a"] = Reply(gzip.compress(b'{"x": 1}'), headers={"Content-Encoding": "gzip"})
    assert get_json(f"{server.url}/a", timeout_seconds=60) == {"x": 1}


def test_token_is_sent_as_bearer(server: LocalServer) -> None:
    server.pages["/a"] = Reply(b"1")
    assert get_json(f"{server.url}/a", timeout_seconds=60, token=TOKEN) == 1
    assert server.asked[0].headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_token_and_headers_stay_with_their_origin(server: LocalServer, status: int) -> None:
    with LocalServer({"/b": Reply(b'"moved"')}) as other:
        server.pages["/a"] = Reply(status=status, headers={"Location": "/near"})
        server.pages["/near"] = Reply(status=status, headers={"Location": f"{other.url}/b"})
        with HttpSession(timeout_seconds=60) as session:
            assert session.get(f"{server.url}/a", token=TOKEN, headers={"X-Key": TOKEN}).parse_json() == "moved"
        assert [asked.headers["authorization"] for asked in server.asked] == [f"Bearer {TOKEN}"] * 2
        assert TOKEN not in repr(other.asked)


def test_endless_or_empty_redirects_are_returned(server: LocalServer) -> None:
    server.pages["/a"] = Reply(status=302, headers={"Location": "/a"})
    server.pages["/b"] = Reply(status=302)
    for path in ("/a", "/b"):
        assert failure_of(server.url + path).code == "http-status"
    assert len(server.asked) == 6


@pytest.mark.parametrize("target", ["ftp://127.0.0.1/a", "file:///etc/passwd", "http://[broken"])
def test_redirect_to_another_scheme_is_refused(server: LocalServer, target: str) -> None:
    server.pages["/a"] = Reply(status=302, headers={"Location": target})
    assert failure_of(f"{server.url}/a").code == "http-unreachable"


def test_redirect_from_https_to_http_is_not_followed() -> None:
    answer = HttpResponse("https://h/a", 302, {"location": "http://h/b"}, b"")
    assert _redirect_target(httpx.URL("https://h/a"), answer) is None
    assert _redirect_target(httpx.URL("http://h/a"), answer) == httpx.URL("http://h/b")


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
def test_error_status_is_returned_to_the_caller(server: LocalServer, status: int) -> None:
    server.pages["/a"] = Reply(b"<html>", status, {"X-Reason": "because"})
    with HttpSession(timeout_seconds=60) as session:
        answer = session.get(f"{server.url}/a?key={TOKEN}")
        assert (answer.status, answer.body, answer.headers["x-reason"]) == (status, b"<html>", "because")
        assert TOKEN not in repr(answer)
        assert "because" not in repr(answer)
        with pytest.raises(Failure, match=str(status)) as caught:
            answer.parse_json()
    assert caught.value.code == "http-status"


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"a":', b"[" * 100_000])
def test_response_that_is_not_json_is_a_failure(server: LocalServer, body: bytes) -> None:
    server.pages["/a"] = Reply(body)
    assert failure_of(f"{server.url}/a").code == "http-body"


def test_half_a_surrogate_pair_is_replaced() -> None:
    # ComfyUI writes the name of a file that is not UTF-8 like this.
    answer = HttpResponse("http://h/a", 200, {}, b'{"combo": ["caf\\udce9.png", NaN]}')
    parsed = answer.parse_json()
    assert isinstance(parsed, dict)
    assert parsed["combo"][0] == "caf\N{REPLACEMENT CHARACTER}.png"


def test_json_with_too_many_values_is_refused() -> None:
    answer = HttpResponse("http://h/a", 200, {}, b"[" + b"[]," * (MAX_JSON_VALUES // 2) + b"0]")
    with pytest.raises(Failure, match=f"more than {MAX_JSON_VALUES} values"):
        answer.parse_json()


def test_truncated_body_is_a_failure(server: LocalServer) -> None:
    def cut(_asked: Asked, handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[1, 2]")

    server.pages["/cut"] = cut
    server.pages["/packed"] = Reply(gzip.compress(b"[1, 2]")[:-9], headers={"Content-Encoding": "gzip"})
    for path in ("/cut", "/packed"):
        failure = failure_of(server.url + path)
        assert failure.code == "http-body"
        assert "early" in failure.message


@pytest.mark.slow
def test_body_is_read_up_to_the_limit(server: LocalServer) -> None:
    written: list[int] = []

    def endless(_asked: Asked, handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        with contextlib.suppress(OSError):
            while not server.leave.is_set():
                written.append(handler.wfile.write(bytes(1 << 16)))

    server.pages["/endless"] = endless
    server.pages["/bomb"] = Reply(gzip.compress(bytes(50 << 20)), headers={"Content-Encoding": "gzip"})
    for path in ("/endless", "/bomb"):
        failure = failure_of(server.url + path, max_bytes=100_000)
        assert failure.code == "http-body"
        assert "more than 98 KiB" in failure.message


@pytest.mark.slow
def test_decompression_stops_at_the_limit(server: LocalServer) -> None:
    server.pages["/bomb"] = Reply(gzip.compress(bytes(50 << 20)), headers={"Content-Encoding": "gzip"})
    failure_of(server.url + "/bomb", max_bytes=100_000)
    tracemalloc.start()
    try:
        assert failure_of(server.url + "/bomb", max_bytes=100_000).code == "http-body"
        assert tracemalloc.get_traced_memory()[1] < 5 << 20
    finally:
        tracemalloc.stop()


def test_unknown_or_corrupt_encoding_is_a_failure(server: LocalServer) -> None:
    server.pages["/layers"] = Reply(b"", headers={"Content-Encoding": "gzip, gzip"})
    server.pages["/damaged"] = Reply(b"no gzip", headers={"Content-Encoding": "gzip"})
    for path in ("/layers", "/damaged"):
        assert failure_of(server.url + path).code == "http-body"


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\n\r\n["])
@pytest.mark.slow
def test_stalled_server_is_left_after_the_timeout(server: LocalServer, start: bytes) -> None:
    def stall(_asked: Asked, handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(start)
        handler.wfile.flush()
        server.leave.wait(10)

    server.pages["/a"] = stall
    failure = failure_of(f"{server.url}/a", timeout_seconds=0.2)
    assert failure.code == "http-unreachable"
    assert "0.2 seconds" in failure.message


@pytest.mark.slow
def test_slow_body_cannot_exceed_the_timeout(server: LocalServer) -> None:
    def drip(_asked: Asked, handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        with contextlib.suppress(OSError):
            while not server.leave.wait(0.02):
                handler.wfile.write(b" ")
                handler.wfile.flush()

    server.pages["/a"] = drip
    assert failure_of(f"{server.url}/a", timeout_seconds=0.2).code == "http-unreachable"


def test_refused_connection_is_reported() -> None:
    failure = failure_of(f"http://user:{TOKEN}@127.0.0.1:{closed_port()}/a?key={TOKEN}#{TOKEN}", token=TOKEN)
    assert failure.code == "http-unreachable"
    assert "refused" in failure.message


def test_response_that_is_not_http_is_unreachable(server: LocalServer) -> None:
    def babble(_asked: Asked, handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"SSH-2.0-OpenSSH\r\n\r\n")

    server.pages["/a"] = babble
    assert failure_of(f"{server.url}/a").code == "http-unreachable"


@pytest.mark.parametrize(
    "url", ["", "no address", "ftp://h/a", "http://", "http://[::1", "http://h:99999/", "\0", "http://xn--a/"]
)
def test_invalid_address_is_unreachable(url: str) -> None:
    assert failure_of(url).code == "http-unreachable"


def test_messages_and_tracebacks_hold_no_secret(server: LocalServer) -> None:
    server.pages["/a"] = Reply(status=500)
    secret_url = server.url.replace("//", f"//user:{TOKEN}@") + f"/a?token={TOKEN}"
    failures = [failure_of(secret_url, token=TOKEN), failure_of(f"{server.url}/a", token=f"{TOKEN}\nX: y")]
    for failure in failures:
        assert TOKEN not in "".join(traceback.format_exception(failure))
    assert len(server.asked) == 1


def test_transient_error_is_retried_over_the_same_connection(server: LocalServer) -> None:
    statuses = [500, 429, 200]

    def recover(_asked: Asked, _handler: BaseHTTPRequestHandler) -> Reply:
        return Reply(b"[]", statuses.pop(0), {"Retry-After": "0"})

    server.pages["/a"] = recover
    with HttpSession(timeout_seconds=60, attempts=3, first_wait_seconds=0.001) as session:
        assert session.get_json(f"{server.url}/a") == []
    assert len(server.asked) == 3


def test_last_response_or_failure_is_final(server: LocalServer) -> None:
    server.pages["/a"] = Reply(status=503)
    with HttpSession(timeout_seconds=60, attempts=2, first_wait_seconds=0.001) as session:
        assert session.get(f"{server.url}/a").status == 503
        assert len(server.asked) == 2
        with pytest.raises(Failure, match="refused"):
            session.get(f"http://127.0.0.1:{closed_port()}/")


def test_wait_beyond_the_timeout_is_not_begun(server: LocalServer) -> None:
    server.pages["/a"] = Reply(status=429, headers={"Retry-After": "3600"})
    with HttpSession(timeout_seconds=60, attempts=9) as session:
        assert session.get(f"{server.url}/a").status == 429
    assert len(server.asked) == 1


def test_permanent_error_is_not_retried(server: LocalServer) -> None:
    server.pages["/a"] = Reply(status=404)
    with HttpSession(timeout_seconds=60, attempts=3) as session:
        assert session.get(f"{server.url}/a").status == 404
    assert len(server.asked) == 1


def test_threads_share_a_session(server: LocalServer) -> None:
    server.pages["/a"] = Reply(b"[]")
    with HttpSession(timeout_seconds=60) as session:
        threads = [threading.Thread(target=session.get, args=(f"{server.url}/a",)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(server.asked) == 8


def test_local_server_bypasses_proxies(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port()}")
    server.pages["/a"] = Reply(b"[]")
    assert get_json(f"{server.url}/a", timeout_seconds=60) == []


def test_is_listening_checks_a_port(server: LocalServer) -> None:
    assert is_listening("127.0.0.1", server.port)
    assert not is_listening("127.0.0.1", closed_port())
    assert not is_listening("127.0.0.1", 1 << 20)
    assert not is_listening("." * 300, 80)


@pytest.mark.slow
def test_is_listening_does_not_import_httpx() -> None:
    code = "import sys; from comfywatchman.base.http import is_listening; is_listening('127.0.0.1', 1)"
    check = "; sys.exit('httpx' in sys.modules or 'tenacity' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code + check], check=False, timeout=100).returncode == 0


def test_head_returns_the_uncompressed_size(server: LocalServer) -> None:
    server.pages["/a"] = Reply(headers={"Content-Length": "123456789", "X-Linked-Size": "7"})
    with HttpSession(timeout_seconds=60) as session:
        answer = session.head(f"{server.url}/a", token=TOKEN)
    assert (answer.status, answer.body, answer.headers["x-linked-size"]) == (200, b"", "7")
    asked = server.asked[0]
    assert (asked.method, asked.headers["accept-encoding"]) == ("HEAD", "identity")
    assert asked.headers["authorization"] == f"Bearer {TOKEN}"


def test_head_follows_redirects_to_other_origins_on_request_only(server: LocalServer) -> None:
    with LocalServer({"/b": Reply(b"there")}) as other:
        server.pages["/a"] = Reply(status=302, headers={"Location": "/near"})
        server.pages["/near"] = Reply(status=302, headers={"Location": f"{other.url}/b"})
        with HttpSession(timeout_seconds=60) as session:
            assert session.head(f"{server.url}/a").headers["location"] == f"{other.url}/b"
            assert session.get(f"{server.url}/a", redirects="origin").status == 302
            assert session.get(f"{server.url}/a", redirects="none").headers["location"] == "/near"
            assert other.asked == []
            assert session.head(f"{server.url}/a", redirects="any").status == 200


def test_post_sends_json_and_follows_no_redirect(server: LocalServer) -> None:
    server.pages["/a"] = Reply(b"[1]")
    server.pages["/moved"] = Reply(status=307, headers={"Location": "/a"})
    with HttpSession(timeout_seconds=60) as session:
        assert session.post_json(f"{server.url}/a", ["x"], token=TOKEN).parse_json() == [1]
        assert session.post_json(f"{server.url}/moved", ["x"]).status == 307
    first = server.asked[0]
    assert (first.method, first.body, first.headers["content-type"]) == ("POST", b'["x"]', "application/json")
    assert len(server.asked) == 2


def test_byte_range_is_sent_along_redirects(server: LocalServer) -> None:
    with LocalServer({"/b": Reply(b"0123", 206)}) as other:
        server.pages["/a"] = Reply(status=302, headers={"Location": f"{other.url}/b"})
        with HttpSession(timeout_seconds=60) as session:
            assert session.get(f"{server.url}/a", token=TOKEN, byte_range=(0, 3)).body == b"0123"
        assert other.asked[0].headers["range"] == "bytes=0-3"
        assert other.asked[0].headers["accept-encoding"] == "identity"
        assert "authorization" not in other.asked[0].headers
