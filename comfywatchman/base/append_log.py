"""Files of lines that several processes append to: a line that was taken is on disk, and none is torn in two."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from comfywatchman.base.failpoints import failpoint
from comfywatchman.base.files import fsync_folder, make_folder, read_to_end, unwritable_failure, write_atomic


def append_line(path: Path, line: bytes) -> None:
    """Append one line durably.

    Raises:
        Failure: `state-unwritable`.
    """
    append_lines(path, [line])


def append_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Append lines durably, with one flush for all; other processes may append at the same time.

    A torn last line of an earlier crash is ended first, so that it cannot swallow ours.

    Raises:
        Failure: `state-unwritable`; some of the lines may be there, the last of them torn.
    """
    content = b"".join(_terminate_line(line) for line in lines)
    if not content:
        return
    try:
        make_folder(path.parent)
        with _open_locked(path) as descriptor:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            _write_all(descriptor, b"\n" + content if torn else content)
            os.fsync(descriptor)
        if size == 0:
            fsync_folder(path.parent)
        failpoint("files.after_append")
    except OSError as error:
        raise unwritable_failure(path, error) from error


def keep_last_lines(path: Path, count: int, *, above: int) -> None:
    """Drop all but the last lines of a file that others may append to meanwhile; none of theirs is lost.

    Args:
        path: The file.
        count: How many lines stay.
        above: Up to how many lines nothing is dropped, so that not every call writes.

    Raises:
        Failure: `state-unwritable`.
    """
    try:
        with _open_locked(path) as descriptor:
            lines = read_to_end(descriptor, os.fstat(descriptor).st_size).splitlines(keepends=True)
            if len(lines) > above:
                write_atomic(path, b"".join(lines[-count:]))
    except OSError as error:
        raise unwritable_failure(path, error) from error


@contextlib.contextmanager
def _open_locked(path: Path) -> Iterator[int]:
    # The file may be replaced while we wait for its lock; what is written to the old one would be lost.
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_same_file(descriptor, path):
                yield descriptor
                return
        finally:
            os.close(descriptor)


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _terminate_line(line: bytes) -> bytes:
    if b"\n" in line:
        raise ValueError("a line holds no newline")
    return line + b"\n"


def _write_all(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
