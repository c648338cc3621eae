from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.stream import ConnectionPool
from comfywatchman.sources.download.partial_file import build_partial_name
from comfywatchman.sources.download.retry import RetryPolicy
from comfywatchman.sources.download.target import DownloadRequest
from tests.model_files import put
from tests.servers.base import Asked, LocalServer, Reply
from tests.servers.cdn import CdnServer
from tests.servers.faults import HONEST, Fault, FaultServer
from tests.sources.download.support import build_limits, download_into, model, sha256

MODEL = model()
NAME = "model.safetensors"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def request_for(server: FaultServer, *, with_hash: bool = True) -> DownloadRequest:
    content = server.content
    return DownloadRequest(
        NAME, server.url, len(content) if with_hash else None, sha256(content) if with_hash else None
    )


def code_of(folder: Path, request: DownloadRequest, server: FaultServer | LocalServer, **how: object) -> str:
    host = server.host if isinstance(server, FaultServer) else f"127.0.0.1:{server.port}"
    with pytest.raises(Failure) as raised:
        download_into(folder, request, hosts=frozenset({host}), **how)  # type: ignore[arg-type]
    return raised.value.code


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_existing_right_file_is_not_downloaded(tmp_path: Path) -> None:
    put(tmp_path / NAME, MODEL)
    with FaultServer(MODEL) as server:
        result = download_into(tmp_path, request_for(server), hosts=frozenset({server.host}))
        assert result.was_there
        assert server.asked == []


@pytest.mark.parametrize("there", [b"mine", bytes(len(MODEL))])
def test_other_file_of_that_name_is_never_replaced(tmp_path: Path, there: bytes) -> None:
    put(tmp_path / NAME, there)
    with FaultServer(MODEL) as server:
        assert code_of(tmp_path, request_for(server), server) == "download-target-taken"
        assert code_of(tmp_path, request_for(server, with_hash=False), server) == "download-target-taken"
        assert server.asked == []
    assert (tmp_path / NAME).read_bytes() == there


def test_folder_or_dangling_link_of_that_name_stays(tmp_path: Path) -> None:
    with FaultServer(MODEL) as server:
        (tmp_path / NAME).mkdir()
        assert code_of(tmp_path, request_for(server), server) == "download-target-taken"
        (tmp_path / NAME).rmdir()
        (tmp_path / NAME).symlink_to(tmp_path / "elsewhere")
        assert code_of(tmp_path, request_for(server), server) == "download-target-taken"
    assert not (tmp_path / "elsewhere").exists()


def test_file_that_appears_during_the_download_is_not_replaced(tmp_path: Path) -> None:
    with FaultServer(MODEL) as server:
        progress = build_limits(report_progress=lambda _have, _total: write(tmp_path / NAME, b"mine"))
        assert code_of(tmp_path, request_for(server), server, limits=progress) == "download-target-taken"
        assert (tmp_path / NAME).read_bytes() == b"mine"


def test_same_file_that_appears_during_the_download_is_the_result(tmp_path: Path) -> None:
    with FaultServer(MODEL) as server:
        progress = build_limits(report_progress=lambda _have, _total: write(tmp_path / NAME, MODEL))
        assert download_into(tmp_path, request_for(server), hosts=frozenset({server.host}), limits=progress).was_there
    assert names(tmp_path) == [NAME]


def stop_after(count: int) -> object:
    asked = iter(range(10_000))
    return build_limits(wait=lambda _seconds: next(asked) >= count)


def test_stopped_download_resumes(tmp_path: Path) -> None:
    with FaultServer(model(3_000_000)) as server:
        assert code_of(tmp_path, request_for(server), server, limits=stop_after(4)) == "download-stopped"
        part = tmp_path / build_partial_name(NAME, url=server.url, sha256=sha256(server.content))
        have = part.stat().st_size
        assert have > 0
        result = download_into(tmp_path, request_for(server), hosts=frozenset({server.host}))
        assert (result.resumed_from, result.received_bytes) == (have, len(server.content) - have)
        assert server.asked[-1].headers["range"] == f"bytes={have}-"
        assert server.asked[-1].headers["if-range"] == '"v1"'
    assert (tmp_path / NAME).read_bytes() == server.content
    assert names(tmp_path) == [NAME]


def test_stop_while_hashing_existing_bytes(tmp_path: Path) -> None:
    with FaultServer(MODEL) as server:
        put(tmp_path / build_partial_name(NAME, url=server.url, sha256=sha256(MODEL)), MODEL[:100_000])
        assert code_of(tmp_path, request_for(server), server, limits=stop_after(0)) == "download-stopped"
        put(tmp_path / NAME, MODEL)
        assert code_of(tmp_path, request_for(server), server, limits=stop_after(0)) == "download-stopped"


def test_complete_partial_file_needs_no_request(tmp_path: Path) -> None:
    with FaultServer(MODEL) as server:
        put(tmp_path / build_partial_name(NAME, url=server.url, sha256=sha256(MODEL)), MODEL)
        result = download_into(tmp_path, request_for(server), hosts=frozenset({server.host}))
        assert (result.resumed_from, server.asked) == (len(MODEL), [])


def test_corrupt_partial_file_is_downloaded_again(tmp_path: Path) -> None:
    with FaultServer(MODEL) as server:
        put(tmp_path / build_partial_name(NAME, url=server.url, sha256=sha256(MODEL)), bytes(200_000))
        download_into(tmp_path, request_for(server), hosts=frozenset({server.host}))
    assert (tmp_path / NAME).read_bytes() == MODEL


def test_partial_file_that_is_too_long_is_downloaded_again(tmp_path: Path) -> None:
    with FaultServer(MODEL) as server:
        put(tmp_path / build_partial_name(NAME, url=server.url, sha256=sha256(MODEL)), MODEL + b"x")
        assert download_into(tmp_path, request_for(server), hosts=frozenset({server.host})).resumed_from == 0
    assert (tmp_path / NAME).read_bytes() == MODEL


def test_partial_file_of_another_origin_is_kept(tmp_path: Path) -> None:
    with FaultServer(MODEL) as server:
        other = put(tmp_path / build_partial_name(NAME, url="https://elsewhere", sha256=None), b"other")
        download_into(tmp_path, request_for(server), hosts=frozenset({server.host}))
    assert other.read_bytes() == b"other"
    assert (tmp_path / NAME).read_bytes() == MODEL


@pytest.mark.parametrize(("boot", "resumes"), [("boot-1", True), ("boot-0", False)])
def test_without_hash_only_tagged_bytes_of_this_boot_are_resumed(tmp_path: Path, boot: str, resumes: bool) -> None:  # noqa: FBT001 - parametrized
    with FaultServer(MODEL) as server:
        part = put(tmp_path / build_partial_name(NAME, url=server.url, sha256=None), MODEL[:1000])
        put(tmp_path / f"{part.name}.note", b'{"validator":"\\"v1\\"","boot_id":"%b"}' % boot.encode())
        result = download_into(tmp_path, request_for(server, with_hash=False), hosts=frozenset({server.host}))
        assert result.resumed_from == (1000 if resumes else 0)
    assert (tmp_path / NAME).read_bytes() == MODEL


@pytest.mark.parametrize("note", [b"", b"\x00", b"[]", b'{"validator":5}'])
def test_damaged_note_prevents_resuming(tmp_path: Path, note: bytes) -> None:
    with FaultServer(MODEL) as server:
        part = put(tmp_path / build_partial_name(NAME, url=server.url, sha256=None), MODEL[:1000])
        put(tmp_path / f"{part.name}.note", note)
        assert (
            download_into(tmp_path, request_for(server, with_hash=False), hosts=frozenset({server.host})).resumed_from
            == 0
        )


def test_hub_metadata_is_compared_with_the_request_before_the_body(tmp_path: Path) -> None:
    with CdnServer() as cdn, LocalServer() as hub:
        cdn.put("k", MODEL)
        hosts = frozenset({f"127.0.0.1:{cdn.port}", f"127.0.0.1:{hub.port}"})
        head = {"Location": cdn.signed_url("k"), "X-Repo-Commit": COMMIT, "X-Linked-Size": str(len(MODEL))}
        hub.pages["/o/r/resolve/main/m.safetensors"] = Reply(b"", 302, {**head, "X-Linked-Etag": f'"{sha256(MODEL)}"'})
        url = f"{hub.url}/o/r/resolve/main/m.safetensors"
        for other in (DownloadRequest(NAME, url, None, "0" * 64), DownloadRequest(NAME, url, 7, None)):
            with pytest.raises(Failure, match="different file now"):
                download_into(tmp_path, other, hosts=hosts)
        # Without a hash of our own, the hub's is taken.
        cdn.blobs["k"].forever = "corrupt"
        with pytest.raises(Failure, match="states a wrong SHA-256"):
            download_into(tmp_path, DownloadRequest(NAME, url), hosts=hosts)
        cdn.blobs["k"].forever = None
        cdn.blobs["k"].faults.append("cut")
        hub.pages[f"/o/r/resolve/{COMMIT}/m.safetensors"] = hub.pages["/o/r/resolve/main/m.safetensors"]
        download_into(tmp_path, DownloadRequest(NAME, url), hosts=hosts, tokens={hub.url: "sesame"})
        assert hub.asked[-1].path == f"/o/r/resolve/{COMMIT}/m.safetensors"
        assert hub.asked[-1].headers["authorization"] == "Bearer sesame"
    assert names(tmp_path) == [NAME]


def test_civitai_key_reaches_a_file_by_its_id(tmp_path: Path) -> None:
    def page(asked: Asked, _handler: object) -> Reply:
        if asked.headers.get("authorization") != "Bearer key":
            return Reply(b'{"error":"Unauthorized"}', 401, {"Content-Type": "application/json"})
        return Reply(b"", 307, {"Location": cdn.signed_url("k")})

    with CdnServer() as cdn, LocalServer({"/api/download/models/1": page}) as civitai:
        cdn.put("k", MODEL)
        hosts = frozenset({f"127.0.0.1:{cdn.port}", f"127.0.0.1:{civitai.port}"})
        request = DownloadRequest(NAME, f"{civitai.url}/api/download/models/1?fileId=2", len(MODEL), sha256(MODEL))
        with pytest.raises(Failure) as raised:
            download_into(tmp_path, request, hosts=hosts)
        assert raised.value.code == "download-no-access"
        assert "CIVITAI_API_KEY" in (raised.value.hint or "")
        assert names(tmp_path) == []
        download_into(tmp_path, request, hosts=hosts, tokens={civitai.url: "key"})
        assert civitai.asked[-1].path.endswith("?fileId=2")


def test_expired_signature_is_requested_again(tmp_path: Path) -> None:
    with CdnServer() as cdn, LocalServer({"/m": Reply(b"", 302, {"Location": "/"})}) as hub:
        blob = cdn.put("k", MODEL)
        hub.pages["/m"] = Reply(b"", 302, {"Location": cdn.signed_url("k")})
        hosts = frozenset({f"127.0.0.1:{cdn.port}", f"127.0.0.1:{hub.port}"})
        blob.faults += ["cut", "forbidden"]
        download_into(tmp_path, DownloadRequest(NAME, f"{hub.url}/m", len(MODEL), sha256(MODEL)), hosts=hosts)
        assert len(hub.asked) == 3
        blob.forever = "forbidden"
        with pytest.raises(Failure) as raised:
            download_into(tmp_path, DownloadRequest("b.safetensors", f"{hub.url}/m"), hosts=hosts)
        assert raised.value.code == "download-no-access"
    assert names(tmp_path) == [NAME]


def test_redirect_to_a_private_host_is_refused(tmp_path: Path) -> None:
    with FaultServer(MODEL) as private, FaultServer(MODEL, [Fault("redirect")], elsewhere=private.url) as server:
        assert code_of(tmp_path, request_for(server), server) == "download-host-refused"
        server._script.append(Fault("redirect", headers={"location": private.url.replace("http:", "https:")}))
        assert code_of(tmp_path, request_for(server), server) == "download-host-refused"
        assert private.connections == 0


def test_downloads_share_a_connection(tmp_path: Path) -> None:
    with FaultServer(MODEL) as server:
        hosts = frozenset({server.host})
        with ConnectionPool(stall_seconds=60, may_be_private=hosts.__contains__) as connections:
            for number in range(5):
                request = DownloadRequest(f"{number}.safetensors", server.url, len(MODEL), sha256(MODEL))
                download_into(tmp_path, request, hosts=hosts, connections=connections)
        assert (len(server.asked), server.connections) == (5, 1)


def test_connection_closed_by_the_server_is_opened_again(tmp_path: Path) -> None:
    with FaultServer(MODEL, [HONEST, Fault("hang-up")]) as server:
        hosts = frozenset({server.host})
        with ConnectionPool(stall_seconds=60, may_be_private=hosts.__contains__) as connections:
            for number in range(2):
                request = DownloadRequest(f"{number}.safetensors", server.url, len(MODEL), sha256(MODEL))
                download_into(tmp_path, request, hosts=hosts, connections=connections)
    assert len(names(tmp_path)) == 2


def test_abort_ends_a_download_from_a_silent_server(tmp_path: Path) -> None:
    stop = threading.Event()
    with FaultServer(MODEL, [Fault("stall", 1000)]) as server:
        hosts = frozenset({server.host})
        with ConnectionPool(stall_seconds=60, may_be_private=hosts.__contains__) as connections:
            came = threading.Event()
            limits = build_limits(wait=lambda _seconds: stop.is_set(), report_progress=lambda _have, _total: came.set())
            ends: list[str] = []

            def work() -> None:
                with suppress(Failure):
                    ends.append(code_of(tmp_path, request_for(server), server, limits=limits, connections=connections))

            thread = threading.Thread(target=work)
            thread.start()
            assert came.wait(60)
            stop.set()
            began = time.monotonic()
            connections.abort()
            thread.join(60)
            assert time.monotonic() - began < 40
            assert ends == ["download-stopped"]
            assert (
                code_of(tmp_path, request_for(server), server, limits=limits, connections=connections)
                == "download-stopped"
            )


def test_unwritable_folder_is_reported(tmp_path: Path) -> None:
    with FaultServer(MODEL) as server:
        long = DownloadRequest("x" * 300 + ".safetensors", server.url, len(MODEL), sha256(MODEL))
        assert code_of(tmp_path, long, server) == "state-unwritable"
        assert server.asked == []


def test_disk_space_is_checked_before_writing(tmp_path: Path) -> None:
    with FaultServer(MODEL) as server:
        limits = build_limits(keep_free_bytes=1 << 60)
        assert code_of(tmp_path, request_for(server), server, limits=limits) == "download-no-space"
    assert not (tmp_path / NAME).exists()


def test_partial_name_of_a_link_or_fifo_is_not_written_to(tmp_path: Path) -> None:
    victim = put(tmp_path / "victim", b"mine")
    with FaultServer(MODEL) as server:
        part = tmp_path / build_partial_name(NAME, url=server.url, sha256=sha256(MODEL))
        part.symlink_to(victim)
        assert code_of(tmp_path, request_for(server), server) == "file-not-regular"
        part.unlink()
        os.mkfifo(part)
        assert code_of(tmp_path, request_for(server), server) == "file-not-regular"
        part.unlink()
        os.link(victim, part)
        download_into(tmp_path, request_for(server), hosts=frozenset({server.host}))
    assert victim.read_bytes() == b"mine"
    assert (tmp_path / NAME).read_bytes() == MODEL


def test_second_download_of_the_same_file_is_refused(tmp_path: Path) -> None:
    codes: list[str] = []
    with FaultServer(MODEL) as server:

        def second(_have: int, _total: int | None) -> None:
            if not codes:
                codes.append(code_of(tmp_path, request_for(server), server))

        download_into(
            tmp_path, request_for(server), hosts=frozenset({server.host}), limits=build_limits(report_progress=second)
        )
        assert len(server.asked) == 1
    assert codes == ["lock-held"]
    assert (tmp_path / NAME).read_bytes() == MODEL


def test_attempts_without_progress_are_limited(tmp_path: Path) -> None:
    waits: list[float] = []
    with FaultServer(MODEL, [Fault("cut", 10)] * 50) as server:

        def wait(seconds: float) -> bool:
            waits.append(seconds)
            return False

        limits = build_limits(wait=wait)
        retry = RetryPolicy(attempts=4, first_wait_seconds=1.0, longest_wait_seconds=3.0, stall_seconds=60.0)
        assert code_of(tmp_path, request_for(server), server, limits=limits, retry=retry) == "download-interrupted"
    assert [seconds for seconds in waits if seconds] == [1.0, 2.0, 3.0]


def test_spoiled_transfer_is_tried_again_once(tmp_path: Path) -> None:
    with CdnServer() as cdn:
        cdn.put("k", MODEL).faults.append("corrupt")
        hosts = frozenset({f"127.0.0.1:{cdn.port}"})
        request = DownloadRequest(NAME, cdn.signed_url("k"), None, sha256(MODEL))
        assert download_into(tmp_path, request, hosts=hosts).sha256 == sha256(MODEL)
        assert len(cdn.asked) == 2


def test_wrong_hash_of_a_site_is_named_after_two_equal_transfers(tmp_path: Path) -> None:
    with CdnServer() as cdn:
        cdn.put("k", MODEL)
        request = DownloadRequest(NAME, cdn.signed_url("k"), None, "0" * 64)
        with pytest.raises(Failure, match="states a wrong SHA-256") as caught:
            download_into(tmp_path, request, hosts=frozenset({f"127.0.0.1:{cdn.port}"}))
        assert sha256(MODEL) in caught.value.message
        assert len(cdn.asked) == 2
    assert names(tmp_path) == []


def test_body_without_length_that_is_cut_off_is_continued(tmp_path: Path) -> None:
    def cut(asked: Asked, handler: BaseHTTPRequestHandler) -> Reply | None:
        if "range" in asked.headers:
            start = int(asked.headers["range"].removeprefix("bytes=").rstrip("-"))
            headers = {"Content-Range": f"bytes {start}-{len(MODEL) - 1}/{len(MODEL)}"}
            return Reply(MODEL[start:], 206, headers)
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + MODEL[: len(MODEL) // 2])
        return None

    with LocalServer({"/m": cut}) as server:
        request = DownloadRequest(NAME, f"{server.url}/m", None, sha256(MODEL))
        result = download_into(tmp_path, request, hosts=frozenset({f"127.0.0.1:{server.port}"}))
        assert [asked.headers.get("range") for asked in server.asked] == [None, f"bytes={len(MODEL) // 2}-"]
    assert result.received_bytes == len(MODEL)


def test_wrong_file_without_length_is_refused_after_a_few_attempts(tmp_path: Path) -> None:
    def serve(_asked: Asked, handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + MODEL)

    with LocalServer({"/m": serve}) as server:
        request = DownloadRequest(NAME, f"{server.url}/m", None, "0" * 64)
        with pytest.raises(Failure) as caught:
            download_into(tmp_path, request, hosts=frozenset({f"127.0.0.1:{server.port}"}))
        assert caught.value.code in {"download-wrong-content", "download-interrupted"}
        assert len(server.asked) <= 8
