"""Log files that several processes append to: an acknowledged line is on disk, and no line is torn in two."""

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
    """Append lines durably with one flush for all of them; other processes may append at the same time.

    Raises:
        Failure: `state-unwritable`; some of the lines may have been written, the last of them torn.
    """
    content = b"".join(_terminate_line(line) for line in lines)
    if not content:
        return
    try:
        make_folder(path.parent)
        with _lock_file(path) as descriptor:
            size = os.fstat(descriptor).st_size
            ends_torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            if ends_torn:
                # A crash cut the last line off; without a newline it would swallow the first of ours.
                content = b"\n" + content
            _write_all(descriptor, content)
            os.fsync(descriptor)
        if size == 0:
            fsync_folder(path.parent)
        failpoint("files.after_append")
    except OSError as error:
        raise unwritable_failure(path, error) from error


def keep_last_lines(path: Path, count: int, *, above: int) -> None:
    """Drop all but the last lines of a file; lines that other processes append meanwhile are kept.

    Args:
        path: The file.
        count: How many lines to keep.
        above: Number of lines up to which the file is left alone, so that not every call writes.

    Raises:
        Failure: `state-unwritable`.
    """
    try:
        with _lock_file(path) as descriptor:
            lines = read_to_end(descriptor, os.fstat(descriptor).st_size).splitlines(keepends=True)
            if len(lines) > above:
                write_atomic(path, b"".join(lines[-count:]))
    except OSError as error:
        raise unwritable_failure(path, error) from error


@contextlib.contextmanager
def _lock_file(path: Path) -> Iterator[int]:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # `keep_last_lines` replaces the file; lines written to the replaced one would be lost.
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
    remaining = memoryview(content)
    while remaining:
        # write(2) may write less than it was given.
        written = os.write(descriptor, remaining)
        remaining = remaining[written:]
