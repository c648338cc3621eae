from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.sources.download.body import StallDetector, receive_body
from comfywatchman.sources.download.limits import DownloadLimits
from comfywatchman.sources.download.partial_file import PartialFile, open_partial
from comfywatchman.sources.download.responses import TransientFailure
from tests.sources.download.support import build_limits


class FakeStream:
    """A response body of prepared blocks; a failure among them is raised."""

    def __init__(self, *blocks: bytes | Failure) -> None:
        self.address = SimpleNamespace(printable="https://hub/file")
        self.blocks = list(blocks)
        self.block_sizes: list[int] = []

    def read(self, max_bytes: int) -> bytes:
        self.block_sizes.append(max_bytes)
        block = self.blocks.pop(0) if self.blocks else b""
        if isinstance(block, Failure):
            raise block
        return block


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def part(folder: int) -> Iterator[PartialFile]:
    with open_partial(folder, ".a.part") as opened:
        yield opened


def receive(part: PartialFile, folder: int, stream: Any, *, limits: DownloadLimits, max_bytes: int = 100) -> None:
    receive_body(stream, part, folder=folder, total=None, max_bytes=max_bytes, stall_seconds=10.0, limits=limits)


def test_blocks_are_appended_and_progress_is_reported(part: PartialFile, folder: int) -> None:
    sizes: list[tuple[int, int | None]] = []
    limits = build_limits(report_progress=lambda size, total: sizes.append((size, total)))
    receive(part, folder, FakeStream(b"abc", b"de"), limits=limits)
    assert os.pread(part.descriptor, 9, 0) == b"abcde"
    assert sizes == [(3, None), (5, None)]


def test_body_larger_than_the_file_is_refused_and_cleared(part: PartialFile, folder: int) -> None:
    with pytest.raises(Failure) as raised:
        receive(part, folder, FakeStream(b"abc", b"de"), limits=build_limits(), max_bytes=4)
    assert raised.value.code == "download-wrong-content"
    assert part.size == 0


def test_body_of_exactly_the_largest_size_is_received(part: PartialFile, folder: int) -> None:
    receive(part, folder, FakeStream(b"abc", b"d"), limits=build_limits(), max_bytes=4)
    assert part.size == 4


def test_broken_connection_keeps_the_received_bytes(part: PartialFile, folder: int) -> None:
    stream = FakeStream(b"abc", Failure("http-unreachable", "broke off"))
    with pytest.raises(TransientFailure, match="broke off"):
        receive(part, folder, stream, limits=build_limits())
    assert part.size == 3


def test_broken_connection_after_a_stop_is_the_stop(part: PartialFile, folder: int) -> None:
    stream = FakeStream(Failure("http-unreachable", "broke off"))
    with pytest.raises(Failure) as raised:
        receive(part, folder, stream, limits=build_limits(wait=lambda _seconds: True))
    assert raised.value.code == "download-stopped"


def test_stop_between_blocks(part: PartialFile, folder: int) -> None:
    with pytest.raises(Failure) as raised:
        receive(part, folder, FakeStream(b"abc", b"de"), limits=build_limits(wait=lambda _seconds: True))
    assert raised.value.code == "download-stopped"
    assert part.size == 3


def test_throttled_download_reads_small_blocks(part: PartialFile, folder: int) -> None:
    plain, throttled = FakeStream(b"abc"), FakeStream(b"abc")
    receive(part, folder, plain, limits=build_limits())
    receive(part, folder, throttled, limits=build_limits(bytes_per_second=1 << 30))
    assert max(throttled.block_sizes) < min(plain.block_sizes)


class BrokenDisk(PartialFile):
    """A partial file on a disk that cannot be written to."""

    def __init__(self, folder: int, name: str, descriptor: int, error: int) -> None:
        super().__init__(folder, name, descriptor)
        self.error = error

    def append(self, block: bytes) -> None:
        raise OSError(self.error, f"{len(block)} bytes")


@pytest.mark.parametrize(
    ("error", "code"),
    [(errno.ENOSPC, "download-no-space"), (errno.EDQUOT, "download-no-space"), (errno.EIO, "state-unwritable")],
)
def test_disk_errors_are_distinguished(folder: int, tmp_path: Path, error: int, code: str) -> None:
    descriptor = os.open(tmp_path / ".b.part", os.O_RDWR | os.O_CREAT)
    with BrokenDisk(folder, ".b.part", descriptor, error) as part:
        with pytest.raises(Failure) as raised:
            receive(part, folder, FakeStream(b"abc"), limits=build_limits())
        assert raised.value.code == code


def test_stalled_server_is_told_from_a_slow_one() -> None:
    stall = StallDetector(10.0)
    assert not any(stall.is_stalled(1.0, 600) for _ in range(100))
    stall = StallDetector(10.0)
    assert [stall.is_stalled(1.0, 1) for _ in range(10)] == [False] * 9 + [True]
    stall = StallDetector(10.0)
    assert not any(stall.is_stalled(0.0, 1) for _ in range(1000))
