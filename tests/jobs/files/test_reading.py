from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from comfywatchman.jobs.files.problems import JobFileError
from comfywatchman.jobs.files.reading import (
    MAX_BYTES,
    FileStamp,
    find_base_folder,
    is_settled,
    may_grow,
    read_job_text,
    read_yaml_file,
)

SECOND = 1_000_000_000


def stamp(*, mtime_s: float = 100, ctime_s: float = 100, size: int = 1) -> FileStamp:
    return FileStamp(int(mtime_s * SECOND), size, 1, int(ctime_s * SECOND))


def test_file_unchanged_since_the_last_scan_is_settled() -> None:
    assert is_settled(stamp(), stamp(), now_ns=100 * SECOND, poll_seconds=1)


def test_file_that_grew_since_the_last_scan_is_not_settled() -> None:
    assert not is_settled(stamp(size=2), stamp(), now_ns=100 * SECOND, poll_seconds=1)


def test_file_changed_a_poll_interval_ago_is_settled() -> None:
    assert is_settled(stamp(), None, now_ns=101 * SECOND, poll_seconds=1)
    assert not is_settled(stamp(), None, now_ns=101 * SECOND - 1, poll_seconds=1)


def test_copied_file_with_an_old_time_is_not_settled() -> None:
    assert not is_settled(stamp(mtime_s=1), None, now_ns=100 * SECOND, poll_seconds=1)


def test_file_from_the_future_is_settled_once_it_stays_the_same() -> None:
    future = stamp(mtime_s=9999)
    assert not is_settled(future, None, now_ns=100 * SECOND, poll_seconds=1)
    assert is_settled(future, future, now_ns=100 * SECOND, poll_seconds=1)


def test_short_file_may_grow_for_ten_poll_intervals() -> None:
    assert may_grow(stamp(), now_ns=110 * SECOND - 1, poll_seconds=1)
    assert not may_grow(stamp(), now_ns=110 * SECOND, poll_seconds=1)


def test_content_and_hash_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"a: 1\n")
    text = read_job_text(path)
    assert text.content == b"a: 1\n"
    assert text.sha256 == hashlib.sha256(b"a: 1\n").hexdigest()
    assert text.stamp == FileStamp.from_stat(path.stat())


def test_file_of_the_largest_size_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"#" * MAX_BYTES)
    assert len(read_job_text(path).content) == MAX_BYTES
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(JobFileError, match=r"larger than 1\.0 MiB"):
        read_job_text(path)


def test_link_pipe_and_absent_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "link.yaml").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe.yaml")
    for name, reason in (
        ("link.yaml", "is a link"),
        ("pipe.yaml", "not a regular file"),
        ("gone.yaml", "No such file"),
    ):
        with pytest.raises(JobFileError, match=reason):
            read_job_text(tmp_path / name)


def test_configuration_file_is_named_in_its_errors(tmp_path: Path) -> None:
    path = tmp_path / "workflows.yaml"
    with pytest.raises(JobFileError, match=r"workflows\.yaml cannot be used\. .*No such file"):
        read_yaml_file(path)
    path.write_text("a: [1\n", "utf-8")
    with pytest.raises(JobFileError, match=r"workflows\.yaml cannot be used\. Line \d: It is not valid YAML"):
        read_yaml_file(path)


def test_huge_configuration_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "workflows.yaml"
    with path.open("wb") as stream:
        stream.truncate(9 << 20)
    with pytest.raises(JobFileError, match="larger than"):
        read_yaml_file(path)


def test_relative_paths_start_from_the_folder_that_holds_config() -> None:
    assert find_base_folder(Path("/srv/home/config/workflows.yaml")) == Path("/srv/home")
    assert find_base_folder(Path("/srv/home/workflows.yaml")) == Path("/srv/home")
