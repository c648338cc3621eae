from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from comfywatchman.base.clock import SystemClock
from comfywatchman.base.config import Home, load
from comfywatchman.base.settings import Settings
from comfywatchman.base.stop import StopEvent
from comfywatchman.comfyui.install.folders import ModelFolder, ModelFolders
from comfywatchman.readiness.downloads.item_downloader import DownloadContext
from comfywatchman.readiness.downloads.plan import DownloadPlan, PlanItem
from comfywatchman.readiness.downloads.queue import DownloadOutcome, queue_file, read_queue
from comfywatchman.readiness.downloads.rules import build_allowlist, find_disk
from comfywatchman.readiness.downloads.run import download_automatically, run_downloads
from tests.servers.faults import Fault, FaultServer
from tests.sources.download.support import QUICK, model, sha256


class Noted:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.outcomes: list[DownloadOutcome] = []
        self.most = 0
        self.came = threading.Event()

    def update(self, _item: PlanItem, have: int, _total: int | None) -> None:
        self.most = max(self.most, have)
        self.came.set()

    def finish(self, outcome: DownloadOutcome) -> None:
        self.outcomes.append(outcome)


def settings(tmp_path: Path, **variables: str) -> Settings:
    names = {f"COMFYWATCHMAN_{name.upper()}": value for name, value in variables.items()}
    return load(folder=tmp_path, environment={"HOME": str(tmp_path), **names}).settings


@pytest.fixture
def stop() -> Iterator[StopEvent]:
    with StopEvent() as notice:
        yield notice


def work(tmp_path: Path, server: FaultServer, stop: StopEvent, **changes: Any) -> DownloadContext:
    loras = ModelFolder("loras", (tmp_path / "loras",), frozenset({".safetensors"}))
    own = {"downloads__local_hosts": f'["{server.host}"]', "downloads__keep_free_gb": "0"}
    facts: dict[str, Any] = {
        "home": Home(tmp_path / "home"),
        "comfyui": "c",
        "settings": settings(tmp_path, **own),
        "folders": ModelFolders(tmp_path, {"loras": loras}),
        "clock": SystemClock(),
        "stop": stop,
        "watcher": Noted(),
        "retry_policy": QUICK,
    }
    return DownloadContext(**{**facts, **changes})


def item(server: FaultServer, name: str = "a.safetensors", **changes: Any) -> PlanItem:
    plain = PlanItem(name, "loras", server.url, len(server.content), sha256(server.content))
    return msgspec.structs.replace(plain, **changes)


def test_each_item_has_its_outcome_in_order_and_in_the_queue(tmp_path: Path, stop: StopEvent) -> None:
    with FaultServer(model()) as server:
        items = [item(server), item(server, "b.txt"), item(server, "c.safetensors", sha256="0" * 64), item(server)]
        now = work(tmp_path, server, stop)
        outcomes = run_downloads(items, now)
    assert [(one.filename, one.how, one.code) for one in outcomes] == [
        ("a.safetensors", "downloaded", None),
        ("b.txt", None, "download-name-unsafe"),
        ("c.safetensors", None, "download-wrong-content"),
    ]
    queue, _ = read_queue(queue_file(now.home))
    assert {entry.outcome for entry in queue.entries.values()} == set(outcomes)
    assert queue.unfinished("c") == ()
    assert isinstance(now.watcher, Noted)
    assert sorted(one.filename for one in now.watcher.outcomes) == ["a.safetensors", "b.txt", "c.safetensors"]
    assert now.watcher.most == len(server.content)


def test_a_stop_ends_what_is_under_way_and_begins_nothing_more(tmp_path: Path, stop: StopEvent) -> None:
    with FaultServer(model(), [Fault("stall", 1000)] * 3) as server:
        slow = type(QUICK)(stall_seconds=60.0)
        now = work(tmp_path, server, stop, retry_policy=slow)
        assert isinstance(now.watcher, Noted)
        came = now.watcher.came

        def stop_when_it_comes() -> None:
            came.wait(60)
            stop.set()

        threading.Thread(target=stop_when_it_comes).start()
        outcomes = run_downloads([item(server, f"{number}.safetensors") for number in range(9)], now)
    assert {one.code for one in outcomes} == {"download-stopped"}
    assert len(server.asked) <= 3
    assert len(read_queue(queue_file(now.home))[0].unfinished("c")) == 9


def test_only_what_is_proved_is_fetched_automatically(tmp_path: Path, stop: StopEvent) -> None:
    with FaultServer(model()) as server:
        unsure = item(server, "b.safetensors", sha256=None)
        plan = DownloadPlan("c1", "2026-11-20T14:00:00Z", (item(server), unsure), 0)
        outcomes = download_automatically(plan, work(tmp_path, server, stop))
        assert [one.filename for one in outcomes] == ["a.safetensors"]
        assert (
            download_automatically(msgspec.structs.replace(plan, items=(unsure,)), work(tmp_path, server, stop)) == ()
        )


def test_a_trouble_of_our_own_ends_the_run_and_not_the_other_files(tmp_path: Path, stop: StopEvent) -> None:
    class Broken(Noted):
        def finish(self, outcome: DownloadOutcome) -> None:
            raise RuntimeError(outcome.filename)

    with FaultServer(model()) as server, pytest.raises(RuntimeError):
        run_downloads([item(server)], work(tmp_path, server, stop, watcher=Broken()))
    assert stop.is_set()


def test_keys_go_to_the_sites_they_are_of(tmp_path: Path) -> None:
    own = {"secrets__civitai_api_key": "ck", "secrets__hf_token": "hk"}
    allowed = build_allowlist(settings(tmp_path, **own))
    assert allowed.tokens == {
        "https://civitai.com": "ck",
        "https://civitai.red": "ck",
        "https://huggingface.co": "hk",
    }
    assert (allowed.hosts, allowed.local_hosts) == (frozenset(), frozenset())
    own |= {
        "search__huggingface_url": "http://127.0.0.1:99",
        "search__civitai_fallback_url": "",
        "downloads__hosts": '["github.com"]',
    }
    allowed = build_allowlist(settings(tmp_path, **own))
    assert allowed.tokens["http://127.0.0.1:99"] == "hk"
    assert (allowed.hosts, allowed.local_hosts) == (frozenset({"github.com"}), frozenset({"127.0.0.1:99"}))
    assert "hk" not in repr(allowed)


def test_the_disk_of_a_folder_that_is_not_there_yet_is_that_of_the_nearest_one(tmp_path: Path) -> None:
    assert find_disk(tmp_path / "a" / "b")[0] == find_disk(tmp_path)[0]
    assert find_disk(tmp_path / "a")[1] > 0


def test_same_bytes_under_several_names_are_fetched_once(tmp_path: Path, stop: StopEvent) -> None:
    names = ["a.safetensors", "sub/b.safetensors", "c.safetensors"]
    with FaultServer(model()) as server:
        outcomes = run_downloads([item(server, name) for name in names], work(tmp_path, server, stop))
        assert len(server.asked) == 1
    assert [outcome.how for outcome in outcomes] == ["downloaded", "linked", "linked"]
    assert len({(tmp_path / "loras" / name).stat().st_ino for name in names}) == 1


def test_same_bytes_are_fetched_by_the_next_when_the_first_fails(tmp_path: Path, stop: StopEvent) -> None:
    with FaultServer(model()) as server:
        items = [item(server, "a.txt"), item(server, "b.safetensors"), item(server, "c.safetensors")]
        outcomes = run_downloads(items, work(tmp_path, server, stop))
    assert [outcome.how for outcome in outcomes] == [None, "downloaded", "linked"]


def test_same_bytes_are_fetched_again_without_links(tmp_path: Path, stop: StopEvent) -> None:
    with FaultServer(model()) as server:
        own = {"downloads__local_hosts": f'["{server.host}"]', "downloads__keep_free_gb": "0", "downloads__link": "off"}
        now = work(tmp_path, server, stop, settings=settings(tmp_path, **own))
        outcomes = run_downloads([item(server, "a.safetensors"), item(server, "b.safetensors")], now)
    assert [outcome.how for outcome in outcomes] == ["downloaded", "downloaded"]


def test_cycles_do_not_repeat_a_download_that_failed_for_good(tmp_path: Path, stop: StopEvent) -> None:
    with FaultServer(model()) as server:
        now = work(tmp_path, server, stop)
        wrong = item(server, sha256="0" * 64)
        plan = DownloadPlan("c1", "2026-11-20T14:00:00Z", (wrong,), 0)
        (outcome,) = download_automatically(plan, now)
        assert outcome.code == "download-wrong-content"
        asked = len(server.asked)
        assert download_automatically(plan, now) == ()
        assert len(server.asked) == asked
        # Its site states another hash now.
        corrected = msgspec.structs.replace(plan, items=(item(server),))
        assert [one.how for one in download_automatically(corrected, now)] == ["downloaded"]
