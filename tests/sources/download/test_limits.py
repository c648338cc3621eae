from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.sources.download.limits import Bandwidth, DiskReservation, get_free_bytes
from comfywatchman.sources.download.retry import RetryPolicy
from comfywatchman.sources.download.target import DownloadRequest
from tests.fakes import FakeClock
from tests.servers.faults import FaultServer
from tests.sources.download.support import build_limits, download_into, model, sha256

MIB = 1 << 20


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def test_bandwidth_limit_holds_over_many_reads() -> None:
    clock = FakeClock()
    limit = Bandwidth(1000.0, clock.monotonic)
    waited = 0.0
    for _ in range(100):
        wait = limit.take(100)
        clock.advance(awake=wait)
        waited += wait
    assert waited == pytest.approx(10.0, abs=0.3)


def test_idle_time_is_not_saved_up() -> None:
    clock = FakeClock()
    limit = Bandwidth(1000.0, clock.monotonic)
    clock.advance(awake=3600)
    assert limit.take(1000) == pytest.approx(0.75)


def test_no_bandwidth_limit_never_waits() -> None:
    assert Bandwidth(0.0, FakeClock().monotonic).take(1 << 40) == 0.0


def test_reserved_space_is_not_reserved_again(folder: int) -> None:
    free = get_free_bytes(folder)
    reservation = DiskReservation(0)
    with reservation.reserve(folder, free * 2 // 3):
        with pytest.raises(Failure) as raised, reservation.reserve(folder, free * 2 // 3):
            pass
        assert raised.value.code == "download-no-space"
        assert "GiB needed" in raised.value.message
        with reservation.reserve(folder, 0):
            pass
    with reservation.reserve(folder, free * 2 // 3) as release:
        release(free // 2)
        with reservation.reserve(folder, free // 2):
            pass
        release(free)
    with reservation.reserve(folder, free * 2 // 3):
        pass


def test_disk_filled_by_other_programs_is_noticed(folder: int) -> None:
    reservation = DiskReservation(0)
    with reservation.reserve(folder, 0) as release:
        release(5)
        reservation._keep_free_bytes = 1 << 60
        with pytest.raises(Failure) as raised:
            release(5)
    assert raised.value.code == "download-no-space"


@pytest.mark.slow
def test_large_file_is_hashed_and_its_progress_reported(tmp_path: Path) -> None:
    content = model(40 * MIB)
    seen: list[tuple[int, int | None]] = []
    with FaultServer(content) as server:
        limits = build_limits(report_progress=lambda have, total: seen.append((have, total)))
        request = DownloadRequest("a.safetensors", server.url, len(content), sha256(content))
        assert download_into(
            tmp_path, request, hosts=frozenset({server.host}), limits=limits, retry=RetryPolicy()
        ).sha256 == sha256(content)
    assert seen[-1] == (len(content), len(content))
    assert [have for have, _ in seen] == sorted(have for have, _ in seen)
