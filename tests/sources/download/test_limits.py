from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.sources.download.body import StallDetector
from comfywatchman.sources.download.fetch import RetryPolicy
from comfywatchman.sources.download.limits import Bandwidth, DiskReservation, free_bytes
from comfywatchman.sources.download.target import DownloadRequest
from tests.fakes import FakeClock
from tests.servers.faults import FaultServer
from tests.sources.fetching import fetch_into, flow, model, sha256

MIB = 1 << 20


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def test_a_limit_is_kept_by_all_together() -> None:
    clock = FakeClock()
    limit = Bandwidth(1000.0, clock.monotonic)
    waited = 0.0
    for _ in range(100):
        wait = limit.take(100)
        clock.advance(awake=wait)
        waited += wait
    assert waited == pytest.approx(10.0, abs=0.3)


def test_time_in_which_nothing_came_is_not_saved_up() -> None:
    clock = FakeClock()
    limit = Bandwidth(1000.0, clock.monotonic)
    clock.advance(awake=3600)
    assert limit.take(1000) == pytest.approx(0.75)


def test_no_limit_never_waits() -> None:
    assert Bandwidth(0.0, FakeClock().monotonic).take(1 << 40) == 0.0


def test_room_that_is_promised_is_not_promised_again(folder: int) -> None:
    free = free_bytes(folder)
    room = DiskReservation(0)
    with room.reserve(folder, free * 2 // 3):
        with pytest.raises(Failure) as raised, room.reserve(folder, free * 2 // 3):
            pass
        assert raised.value.code == "download-no-space"
        assert "GiB are needed" in raised.value.message
        with room.reserve(folder, 0):
            pass
    with room.reserve(folder, free * 2 // 3) as written:
        written(free // 2)
        with room.reserve(folder, free // 2):
            pass
        written(free)
    with room.reserve(folder, free * 2 // 3):
        pass


def test_a_disk_that_others_fill_meanwhile_is_noticed(folder: int) -> None:
    room = DiskReservation(0)
    with room.reserve(folder, 0) as written:
        written(5)
        room._keep_free_bytes = 1 << 60
        with pytest.raises(Failure) as raised:
            written(5)
    assert raised.value.code == "download-no-space"


def test_a_server_that_drips_is_told_from_one_that_is_slow() -> None:
    pace = StallDetector(10.0)
    assert not any(pace.is_stalled(1.0, 600) for _ in range(100))
    pace = StallDetector(10.0)
    assert [pace.is_stalled(1.0, 1) for _ in range(10)] == [False] * 9 + [True]
    pace = StallDetector(10.0)
    assert not any(pace.is_stalled(0.0, 1) for _ in range(1000))


def test_a_large_file_is_hashed_beside_the_work_and_its_room_watched(tmp_path: Path) -> None:
    content = model(40 * MIB)
    seen: list[tuple[int, int | None]] = []
    with FaultServer(content) as server:
        run = flow(progress=lambda have, total: seen.append((have, total)))
        wanted = DownloadRequest("a.safetensors", server.url, len(content), sha256(content))
        assert fetch_into(
            tmp_path, wanted, hosts=frozenset({server.host}), run=run, patience=RetryPolicy()
        ).sha256 == sha256(content)
    assert seen[-1] == (len(content), len(content))
    assert [have for have, _ in seen] == sorted(have for have, _ in seen)
