from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from comfywatchman.base.stream import ConnectionPool
from comfywatchman.sources.download.attempt import Downloader
from comfywatchman.sources.download.partial_file import ResumeNote, open_partial
from comfywatchman.sources.download.redirects import HostPolicy
from comfywatchman.sources.download.responses import TransientFailure
from comfywatchman.sources.download.state import DownloadState
from comfywatchman.sources.download.target import DownloadRequest
from tests.servers.base import LocalServer, Reply
from tests.sources.download.support import QUICK, build_limits

CONTENT = b"0123456789"
HASH = "a" * 64


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer() as running:
        yield running


def attempt(folder: int, server: LocalServer, *, already: bytes = b"", note: ResumeNote | None = None) -> DownloadState:
    hosts = frozenset({f"127.0.0.1:{server.port}"})
    request = DownloadRequest("a.bin", f"{server.url}/a", None, None if note else HASH)
    with (
        ConnectionPool(stall_seconds=60, may_be_private=hosts.__contains__) as connections,
        open_partial(folder, ".a.part") as part,
    ):
        part.append(already)
        state = DownloadState(request, part, note or ResumeNote(boot_id="now"), "now")
        downloader = Downloader(
            connections, HostPolicy(local_hosts=hosts), QUICK, build_limits(), lambda: datetime.now(UTC)
        )
        downloader.attempt(state, folder)
        part.sha256()
    return state


def test_whole_body_completes_the_download(folder: int, server: LocalServer) -> None:
    server.pages["/a"] = Reply(CONTENT)
    state = attempt(folder, server)
    assert (state.is_complete, state.received_bytes, state.responses) == (True, 10, 1)
    assert "range" not in server.asked[0].headers


def test_range_of_the_missing_bytes_is_requested_under_its_etag(folder: int, server: LocalServer) -> None:
    server.pages["/a"] = Reply(CONTENT[4:], 206, {"Content-Range": "bytes 4-9/10"})
    state = attempt(folder, server, already=CONTENT[:4], note=ResumeNote('"v1"', None, "now"))
    assert (state.is_complete, state.received_bytes) == (True, 6)
    assert server.asked[0].headers["range"] == "bytes=4-"
    assert server.asked[0].headers["if-range"] == '"v1"'


def test_bytes_without_hash_and_etag_are_not_continued(folder: int, server: LocalServer) -> None:
    server.pages["/a"] = Reply(CONTENT)
    state = attempt(folder, server, already=CONTENT[:4], note=ResumeNote(boot_id="now"))
    assert (state.restarts, state.received_bytes) == (1, 10)
    assert "range" not in server.asked[0].headers


def test_refused_range_of_a_complete_file_completes_it(folder: int, server: LocalServer) -> None:
    server.pages["/a"] = Reply(b"", 416, {"Content-Range": "bytes */10"})
    state = attempt(folder, server, already=CONTENT)
    assert (state.is_complete, state.received_bytes, state.restarts) == (True, 0, 0)


def test_full_response_to_a_range_request_replaces_the_bytes(folder: int, server: LocalServer) -> None:
    server.pages["/a"] = Reply(CONTENT)
    state = attempt(folder, server, already=b"xxxx")
    assert (state.restarts, state.received_bytes, state.is_complete) == (1, 10, True)


def test_hash_of_the_hub_is_taken_over(folder: int, server: LocalServer) -> None:
    server.pages["/a"] = Reply(CONTENT, 200, {"X-Linked-Etag": f'"{"b" * 64}"'})
    state = attempt(folder, server, note=ResumeNote(boot_id="now"))
    assert state.request.sha256 == "b" * 64


@pytest.mark.parametrize("status", [429, 503])
def test_overloaded_server_is_a_transient_failure(folder: int, server: LocalServer, status: int) -> None:
    server.pages["/a"] = Reply(b"", status, {"Retry-After": "7"})
    with pytest.raises(TransientFailure) as raised:
        attempt(folder, server)
    assert raised.value.wait_seconds == 7


def test_other_range_than_requested_is_a_transient_failure(folder: int, server: LocalServer) -> None:
    server.pages["/a"] = Reply(CONTENT[5:], 206, {"Content-Range": "bytes 5-9/10"})
    with pytest.raises(TransientFailure, match="different range"):
        attempt(folder, server, already=CONTENT[:4])
