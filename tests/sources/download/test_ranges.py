"""A large file comes over several connections, and its partial file is always a beginning without holes."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.stream import HttpStream
from comfywatchman.sources.download import ranges as ranges_module
from comfywatchman.sources.download.ranges import RangeTransfer
from comfywatchman.sources.download.target import DownloadRequest, DownloadResult
from tests.servers.base import Asked, LocalServer, Reply
from tests.servers.cdn import CdnServer
from tests.sources.download.support import QUICK, build_limits, download_into, model, sha256

MODEL = model(400_000)
NAME = "m.safetensors"
PARALLEL = replace(QUICK, connections=4)
SEGMENT = 32_768


@pytest.fixture(autouse=True)
def _small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comfywatchman.sources.download.ranges.SEGMENT_BYTES", SEGMENT)
    monkeypatch.setattr("comfywatchman.sources.download.attempt.MIN_BYTES", 4 * SEGMENT)


@pytest.fixture
def cdn() -> Iterator[CdnServer]:
    with CdnServer() as server:
        server.put("k", MODEL)
        yield server


def download(folder: Path, cdn: CdnServer, *, digest: str | None = sha256(MODEL)) -> DownloadResult:
    request = DownloadRequest(NAME, cdn.signed_url("k"), None, digest)
    return download_into(folder, request, hosts=frozenset({f"127.0.0.1:{cdn.port}"}), retry=PARALLEL)


def ranges(cdn: CdnServer) -> list[str]:
    return sorted(asked.headers["range"] for asked in cdn.asked if "range" in asked.headers)


def test_each_byte_is_fetched_once_over_several_connections(tmp_path: Path, cdn: CdnServer) -> None:
    result = download(tmp_path, cdn)
    assert (tmp_path / NAME).read_bytes() == MODEL
    assert (result.sha256, result.received_bytes) == (sha256(MODEL), len(MODEL))
    spans = sorted(tuple(map(int, re.findall(r"[0-9]+", text))) for text in ranges(cdn))
    assert spans[0][0] == 0
    assert [start for start, _end in spans[1:]] == [end + 1 for _start, end in spans[:-1]]
    assert spans[-1][1] == len(MODEL) - 1


def test_ranges_run_side_by_side(tmp_path: Path, cdn: CdnServer) -> None:
    together = threading.Barrier(4, timeout=60)
    served = cdn.answer

    def answer(asked: Asked, handler: BaseHTTPRequestHandler) -> Reply | None:
        if asked.headers.get("range", "").startswith(tuple(f"bytes={number * SEGMENT}-" for number in range(4))):
            # None of the first four is answered before all of them have come.
            together.wait()
        return served(asked, handler)

    cdn.answer = answer  # type: ignore[method-assign]
    assert download(tmp_path, cdn).size == len(MODEL)


@pytest.mark.parametrize("fault", ["cut", "forbidden", "no_range", "html"])
def test_failing_range_is_fetched_over_one_connection(tmp_path: Path, cdn: CdnServer, fault: str) -> None:
    cdn.blobs["k"].faults = [None, None, None, fault]  # type: ignore[list-item]
    download(tmp_path, cdn)
    assert (tmp_path / NAME).read_bytes() == MODEL
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_spoiled_range_is_found_by_the_hash_of_the_whole(tmp_path: Path, cdn: CdnServer) -> None:
    cdn.blobs["k"].faults = [None, None, "corrupt"]  # type: ignore[list-item]
    download(tmp_path, cdn)
    assert (tmp_path / NAME).read_bytes() == MODEL


def test_one_connection_is_used_without_a_hash_or_ranges(tmp_path: Path, cdn: CdnServer) -> None:
    download(tmp_path, cdn, digest=None)
    tmp_path.joinpath(NAME).unlink()
    cdn.blobs["k"].forever = "no_range"
    download(tmp_path, cdn)
    assert ranges(cdn) == []


def test_stop_keeps_a_beginning_that_is_resumed(tmp_path: Path, cdn: CdnServer) -> None:
    stopped = threading.Event()

    def report(done: int, _total: int | None) -> None:
        if done >= 3 * SEGMENT:
            stopped.set()

    limits = build_limits(wait=lambda _seconds: stopped.is_set(), report_progress=report)
    request = DownloadRequest(NAME, cdn.signed_url("k"), None, sha256(MODEL))
    hosts = frozenset({f"127.0.0.1:{cdn.port}"})
    with pytest.raises(Failure) as caught:
        download_into(tmp_path, request, hosts=hosts, retry=PARALLEL, limits=limits)
    assert caught.value.code == "download-stopped"
    (part,) = tmp_path.glob(".*.part")
    kept = part.read_bytes()
    assert len(kept) >= 3 * SEGMENT
    assert MODEL.startswith(kept)
    assert download(tmp_path, cdn).resumed_from == len(kept)


def test_queued_ranges_are_not_requested_after_a_failure() -> None:
    opened: list[int] = []
    queued: list[Future[bytearray]] = []
    is_open = threading.Event()

    def open_range(start: int, _last: int) -> HttpStream:
        opened.append(start)
        is_open.set()
        deadline = time.monotonic() + 30
        while not (queued and queued[-1].cancelled()) and time.monotonic() < deadline:
            time.sleep(0.001)
        raise Failure("http-unreachable", "closed")

    transfer = RangeTransfer(open_range, len(MODEL), 1, 60.0, build_limits())

    def queue_and_fail() -> None:
        with ranges_module._open_workers(transfer) as fetch:
            queued.extend(fetch(number * SEGMENT) for number in range(4))
            assert is_open.wait(60)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        queue_and_fail()
    assert opened == [0]


def test_range_is_not_requested_once_others_have_failed() -> None:
    def open_range(_start: int, _last: int) -> HttpStream:
        raise AssertionError

    cancelled = threading.Event()
    cancelled.set()
    transfer = RangeTransfer(open_range, len(MODEL), 1, 60.0, build_limits())
    assert ranges_module._fetch_segment(0, transfer, cancelled) == b""


def test_storage_is_asked_directly_and_without_the_token(tmp_path: Path, cdn: CdnServer) -> None:
    with LocalServer({"/file": Reply(b"", 302, {"Location": cdn.signed_url("k")})}) as hub:
        hosts = frozenset({f"127.0.0.1:{server.port}" for server in (cdn, hub)})
        request = DownloadRequest(NAME, f"{hub.url}/file", None, sha256(MODEL))
        download_into(tmp_path, request, hosts=hosts, retry=PARALLEL, tokens={hub.url: "sesame"})
        assert [asked.headers["authorization"] for asked in hub.asked] == ["Bearer sesame"]
    assert all("authorization" not in asked.headers for asked in cdn.asked)
