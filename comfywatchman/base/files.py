"""Files that are whole or absent: atomic writes, durable appends, careful reads."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import orjson

from comfywatchman.base.errors import Failure
from comfywatchman.base.failpoints import failpoint

T = TypeVar("T")

JSON_OPTIONS: Final = orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
_READ_BLOCK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Damaged:
    """A state file that could not be used.

    Attributes:
        path: Where it was.
        kept_as: The name it was set aside under; None when it could not be moved.
        reason: Why it could not be used, in words.
    """

    path: Path
    kept_as: Path | None
    reason: str


def show_path(path: str | os.PathLike[str]) -> str:
    """Return a path as printable text: bytes that are no UTF-8 and control characters become escapes."""
    text = os.fspath(path)
    clean = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in clean)


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Replace a file as a whole; after a return it survives a power cut, after a raise the old file stands.

    Raises:
        Failure: `state-unwritable`, with the system's reason.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fchmod(stream.fileno(), mode)
                os.fsync(stream.fileno())
            failpoint("files.before_rename")
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
        fsync_folder(path.parent)
        failpoint("files.after_rename")
    except OSError as error:
        raise _unwritable(path, error) from error


def write_if_changed(path: Path, content: bytes, *, mode: int = 0o644) -> bool:
    """Write a file atomically unless it already holds these bytes; say whether it was written.

    Raises:
        Failure: `state-unwritable`.
    """
    with contextlib.suppress(OSError):
        if path.stat().st_size == len(content) and path.read_bytes() == content:
            return False
    write_atomic(path, content, mode=mode)
    return True


def to_json(value: Any) -> bytes:
    """Return a value as our state files hold it: sorted keys, two spaces, a final newline."""
    return orjson.dumps(msgspec.to_builtins(value), option=JSON_OPTIONS)


def append_line(path: Path, line: bytes) -> None:
    """Append one line durably; a torn last line of an earlier crash is ended first, so that it cannot swallow ours.

    Raises:
        Failure: `state-unwritable`.
    """
    if b"\n" in line:
        raise ValueError("a line holds no newline")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            os.write(descriptor, (b"\n" if torn else b"") + line + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if is_new:
            fsync_folder(path.parent)
        failpoint("files.after_append")
    except OSError as error:
        raise _unwritable(path, error) from error


@contextlib.contextmanager
def open_regular(path: Path) -> Iterator[int]:
    """Open a regular file for reading and give its descriptor (for `os.pread`), never waiting on a FIFO or device.

    A system error inside the block becomes a `Failure` too; the descriptor is closed at its end.

    Args:
        path: A file that somebody else may have made.

    Raises:
        Failure: `file-unreadable` or `file-not-regular`.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise Failure("file-unreadable", f"{show_path(path)} cannot be opened: {_reason(error)}.") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Failure("file-not-regular", f"{show_path(path)} is not a regular file.")
        yield descriptor
    except OSError as error:
        raise Failure("file-unreadable", f"{show_path(path)} cannot be read: {_reason(error)}.") from error
    finally:
        os.close(descriptor)


def read_regular(path: Path, *, max_bytes: int) -> bytes:
    """Read a regular file whole, never waiting on a FIFO or device.

    Args:
        path: A file that somebody else may have made.
        max_bytes: The size above which nothing is read.

    Raises:
        Failure: `file-unreadable`, `file-not-regular` or `file-too-large`.
    """
    with open_regular(path) as descriptor:
        size = os.fstat(descriptor).st_size
        if size > max_bytes:
            raise _too_large(path, size, max_bytes)
        content = _read_all(descriptor, max_bytes)
        if len(content) > max_bytes:
            raise _too_large(path, len(content), max_bytes)
        return content


def read_state(path: Path, shape: type[T], *, max_bytes: int = 256 << 20) -> T | Damaged | None:
    """Read and validate a JSON state file.

    Returns:
        The value; None when there is no file; `Damaged` when it was set aside as `<name>.damaged-N`.
    """
    try:
        content = read_regular(path, max_bytes=max_bytes)
    except Failure as failure:
        if isinstance(failure.__cause__, FileNotFoundError):
            return None
        return Damaged(path=path, kept_as=None, reason=failure.message)
    try:
        return msgspec.convert(orjson.loads(content), shape)
    except (ValueError, msgspec.ValidationError, RecursionError) as error:
        return Damaged(path=path, kept_as=set_aside(path), reason=str(error))


def set_aside(path: Path) -> Path | None:
    """Move a damaged file to a free name beside it and return that name; None when it could not be moved."""
    for number in range(1, 1000):
        spare = path.with_name(f"{path.name}.damaged-{number}")
        if spare.exists():
            continue
        try:
            os.rename(path, spare)
        except OSError:
            return None
        return spare
    return None


def _read_all(descriptor: int, max_bytes: int) -> bytes:
    blocks: list[bytes] = []
    total = 0
    while total <= max_bytes and (block := os.read(descriptor, _READ_BLOCK)):
        blocks.append(block)
        total += len(block)
    return b"".join(blocks)


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def _too_large(path: Path, size: int, max_bytes: int) -> Failure:
    return Failure("file-too-large", f"{show_path(path)} has {size} bytes; at most {max_bytes} are read.")


def _unwritable(path: Path, error: OSError) -> Failure:
    return Failure(
        "state-unwritable",
        f"{show_path(path)} cannot be written: {_reason(error)}.",
        hint="Free space or fix the permissions of that folder, then run the command again.",
    )
