from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.sources.download.target import DownloadRequest, DownloadResult, find_existing_file
from tests.sources.download.support import sha256

CONTENT = b"content"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def request(size: int | None = None, digest: str | None = None) -> DownloadRequest:
    return DownloadRequest("a.bin", "https://hub/a", size, digest)


def find(folder: int, wanted: DownloadRequest, *, may_go_on: bool = True) -> DownloadResult | None:
    return find_existing_file(wanted, folder, may_go_on=lambda: may_go_on)


def failure_of(folder: int, wanted: DownloadRequest, *, may_go_on: bool = True) -> Failure:
    with pytest.raises(Failure) as raised:
        find(folder, wanted, may_go_on=may_go_on)
    return raised.value


def test_free_name_has_no_file(folder: int) -> None:
    assert find(folder, request()) is None


def test_file_with_the_requested_hash_is_the_result(folder: int, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(CONTENT)
    for size in (None, len(CONTENT)):
        found = find(folder, request(size, sha256(CONTENT)))
        assert found == DownloadResult(len(CONTENT), sha256(CONTENT), 0, 0, was_there=True)


@pytest.mark.parametrize(
    ("wanted", "existing"),
    [
        (request(), "a file of 7 bytes"),
        (request(7), "a file of 7 bytes"),
        (request(8, sha256(CONTENT)), "a file of 7 bytes"),
        (request(7, "0" * 64), f"a file with SHA-256 {sha256(CONTENT)[:12]}…"),
    ],
)
def test_other_file_takes_the_name(folder: int, tmp_path: Path, wanted: DownloadRequest, existing: str) -> None:
    (tmp_path / "a.bin").write_bytes(CONTENT)
    failure = failure_of(folder, wanted)
    assert failure.code == "download-target-taken"
    assert failure.message == f"a.bin exists already: {existing}."


def test_fifo_takes_the_name(folder: int, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.bin")
    assert "not a regular file" in failure_of(folder, request(7, "0" * 64)).message


def test_dangling_link_takes_the_name(folder: int, tmp_path: Path) -> None:
    (tmp_path / "a.bin").symlink_to("missing")
    assert "a dangling link" in failure_of(folder, request()).message


def test_hashing_can_be_stopped(folder: int, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(CONTENT)
    assert failure_of(folder, request(7, sha256(CONTENT)), may_go_on=False).code == "download-stopped"
