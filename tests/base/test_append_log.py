"""Lines that several processes append, held against kill -9 and a full disk."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from comfywatchman.base.append_log import append_line, append_lines, keep_last_lines
from comfywatchman.base.errors import Failure
from tests.children import KILLED, in_child


def test_torn_last_line_does_not_swallow_the_next(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_bytes(b'{"a":1}\n{"a":')
    append_line(log, b'{"a":2}')
    assert log.read_bytes() == b'{"a":1}\n{"a":\n{"a":2}\n'


def test_line_with_newline_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="newline"):
        append_line(tmp_path / "log", b"a\nb")
    assert not (tmp_path / "log").exists()


def test_appending_nothing_creates_no_file(tmp_path: Path) -> None:
    append_lines(tmp_path / "log", [])
    assert not (tmp_path / "log").exists()


def test_full_disk_while_appending_is_a_failure(tmp_path: Path) -> None:
    full = tmp_path / "log.jsonl"
    full.symlink_to("/dev/full")
    with pytest.raises(Failure) as caught:
        append_line(full, b"{}")
    assert caught.value.code == "state-unwritable"


@pytest.mark.slow
def test_lines_after_a_torn_write_are_whole(tmp_path: Path) -> None:
    code = """
import resource, signal, sys
from pathlib import Path
from comfywatchman.base.errors import Failure
from comfywatchman.base.append_log import append_line
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))
try:
    append_line(Path(sys.argv[1]), b'{"number":12345678}')
except Failure as failure:
    print(failure.code)
"""
    log = tmp_path / "log.jsonl"
    assert in_child(code, log).stdout == "state-unwritable\n"
    assert log.read_bytes() == b'{"number":'

    append_line(log, b'{"number":1}')

    assert log.read_bytes().splitlines()[-1] == b'{"number":1}'


APPEND = """
import sys
from pathlib import Path
from comfywatchman.base.append_log import append_line, keep_last_lines
log, who, count, keep = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
for number in range(count):
    append_line(log, b'{"who":"%s","number":%d,"fill":"%s"}' % (who.encode(), number, b"x" * 300))
    if keep:
        keep_last_lines(log, keep, above=keep)
"""


@pytest.mark.slow
def test_concurrent_lines_are_neither_lost_nor_torn(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    children = [subprocess.Popen([sys.executable, "-c", APPEND, str(log), str(n), "60", "0"]) for n in range(4)]
    assert [child.wait(100) for child in children] == [0] * 4
    entries = [orjson.loads(line) for line in log.read_bytes().splitlines()]
    assert {(entry["who"], entry["number"]) for entry in entries} == {(str(w), n) for w in range(4) for n in range(60)}
    assert len(entries) == 240


@pytest.mark.slow
def test_dropping_old_lines_keeps_concurrent_ones(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_bytes(b'{"who":"old","number":0}\n' * 500)
    children = [subprocess.Popen([sys.executable, "-c", APPEND, str(log), str(n), "40", "150"]) for n in range(3)]
    assert [child.wait(100) for child in children] == [0] * 3
    entries = [orjson.loads(line) for line in log.read_bytes().splitlines()]
    assert len(entries) == 150
    assert sum(entry["who"] != "old" for entry in entries) == 120


def test_short_file_keeps_all_lines(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_bytes(b"1\n2\n3\n")
    keep_last_lines(log, 2, above=3)
    assert log.read_bytes() == b"1\n2\n3\n"
    keep_last_lines(log, 2, above=2)
    assert log.read_bytes() == b"2\n3\n"


def test_keeping_last_lines_of_a_folder_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(Failure) as caught:
        keep_last_lines(tmp_path, 1, above=1)
    assert caught.value.code == "state-unwritable"


def test_appended_line_survives_a_kill(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    assert in_child(APPEND, log, "a", "3", "0", failpoints="files.after_append=kill").returncode == KILLED
    assert len(log.read_bytes().splitlines()) == 1


def test_folder_of_a_log_that_cannot_be_created_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Failure) as caught:
        append_line(tmp_path / "file" / "log", b"new")
    assert caught.value.code == "state-unwritable"


def append_while_locked(log: Path, line: bytes, change: Callable[[], object]) -> None:
    """Hold the lock of a log, let a thread wait for it, change the file, and release the lock."""
    descriptor = os.open(log, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    writer = threading.Thread(target=append_line, args=(log, line))
    writer.start()
    while not is_waited_for(log):
        assert writer.is_alive()
    change()
    os.close(descriptor)
    writer.join(60)
    assert not writer.is_alive()


def is_waited_for(path: Path) -> bool:
    """Return whether a lock of a file is waited for: /proc/locks marks waiters with an arrow."""
    inode = f":{path.stat().st_ino} "
    return any("->" in line and inode in line for line in Path("/proc/locks").read_text("ascii").splitlines())


def test_line_goes_to_the_file_that_replaced_a_locked_one(tmp_path: Path) -> None:
    log, other = tmp_path / "log", tmp_path / "other"
    log.write_bytes(b"old\n")
    other.write_bytes(b"new\n")
    append_while_locked(log, b"ours", lambda: os.replace(other, log))
    assert log.read_bytes() == b"new\nours\n"


def test_line_goes_to_a_new_file_when_a_locked_one_is_deleted(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"old\n")
    append_while_locked(log, b"ours", log.unlink)
    assert log.read_bytes() == b"ours\n"
