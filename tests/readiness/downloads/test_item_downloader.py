from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from comfywatchman.base.stop import StopEvent
from comfywatchman.base.stream import ConnectionPool
from comfywatchman.readiness.downloads.item_downloader import DownloadContext, ItemDownloader
from comfywatchman.readiness.downloads.plan import PlanItem
from comfywatchman.readiness.downloads.queue import DownloadOutcome
from tests.model_files import put
from tests.readiness.downloads.test_links import model_file
from tests.readiness.downloads.test_run import Noted, item, work
from tests.servers.faults import FaultServer
from tests.sources.download.support import QUICK, model

MODEL = model()


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(MODEL) as server:
        yield server


@pytest.fixture
def context(tmp_path: Path, server: FaultServer) -> Iterator[DownloadContext]:
    with StopEvent() as stop:
        yield work(tmp_path, server, stop)


def download(context: DownloadContext, wanted: PlanItem) -> DownloadOutcome:
    hosts = context.rules.allowed.local_hosts
    with ConnectionPool(stall_seconds=QUICK.stall_seconds, may_be_private=hosts.__contains__) as connections:
        return ItemDownloader(context, QUICK, connections).download(wanted)


def test_file_is_downloaded_once(tmp_path: Path, context: DownloadContext, server: FaultServer) -> None:
    first = download(context, item(server))
    assert (first.how, first.code, first.size, first.received_bytes) == ("downloaded", None, len(MODEL), len(MODEL))
    assert (tmp_path / "loras" / "a.safetensors").read_bytes() == MODEL
    assert isinstance(context.watcher, Noted)
    assert context.watcher.most == len(MODEL)
    asked = len(server.asked)
    again = download(context, item(server))
    assert (again.how, again.sha256, len(server.asked)) == ("there", first.sha256, asked)


def test_same_bytes_on_the_host_are_linked(tmp_path: Path, context: DownloadContext, server: FaultServer) -> None:
    source = put(tmp_path / "elsewhere" / "copy.safetensors", MODEL)
    wanted = item(server)
    assert wanted.sha256 is not None
    known = msgspec.structs.replace(model_file(source), name="copy.safetensors")
    outcome = download(dataclasses.replace(context, local_models={wanted.sha256: known}), wanted)
    assert (outcome.how, outcome.size, server.asked) == ("linked", len(MODEL), [])
    assert (tmp_path / "loras" / "a.safetensors").samefile(source)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"filename": "../a.safetensors"}, "download-name-unsafe"),
        ({"filename": "a.ckpt"}, "download-name-unsafe"),
        ({"folder": "nowhere"}, "download-name-unsafe"),
        ({"url": "https://files.example/a.safetensors"}, "download-host-refused"),
        ({"sha256": "0" * 64}, "download-wrong-content"),
    ],
    ids=["path", "extension", "folder", "host", "content"],
)
def test_refused_item_leaves_no_file(
    tmp_path: Path, context: DownloadContext, server: FaultServer, changes: dict[str, str], code: str
) -> None:
    outcome = download(context, msgspec.structs.replace(item(server), **changes))
    assert (outcome.how, outcome.code) == (None, code)
    assert outcome.message
    assert [path for path in tmp_path.rglob("*") if path.suffix in {".safetensors", ".ckpt"}] == []


def test_stopped_run_starts_nothing(context: DownloadContext, server: FaultServer) -> None:
    context.stop.set()
    outcome = download(context, item(server))
    assert (outcome.code, server.asked) == ("download-stopped", [])
