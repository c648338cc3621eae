"""Files that are whole or absent: atomic writes, durable appends, careful reads."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import orjson

from comfywatchman.base.errors import Failure
from comfywatchman.base.failpoints import failpoint
from comfywatchman.base.text import format_size, os_error_text

T = TypeVar("T")

JSON_OPTIONS: Final = orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
_READ_BLOCK: Final = 1 << 20
_SURROGATE_BYTES: Final = range(0xDC80, 0xDD00)  # how Python holds the bytes of a name that are no UTF-8


@dataclass(frozen=True, slots=True)
class CorruptFile:
    """A state file that could not be used.

    Attributes:
        path: Where it was.
        kept_as: The name it was set aside under; None when it could not be moved.
        reason: Why it could not be used, in words.
    """

    path: Path
    moved_to: Path | None
    reason: str


def printable_path(path: str | os.PathLike[str]) -> str:
    """Return a path as printable text: bytes that are no UTF-8 and what cannot be seen become escapes.

    Two different paths never look the same, so a backslash is doubled: the text may stand for the path as a key.
    """
    text = os.fspath(path)
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(c if c.isprintable() and c != "\\" else _escape_path_char(c) for c in text)


def to_nfc(name: str) -> str:
    """Return a name in composed form (Unicode NFC), so that it can be compared with one written on another system."""
    if name.isascii():
        return name
    from unicodedata import normalize

    return normalize("NFC", name)


def is_folder(place: Path | os.DirEntry[str]) -> bool:
    """Say whether something is a folder, links followed; what cannot be looked at is none."""
    try:
        return place.is_dir()
    except OSError:
        return False


def fsync_file(path: Path) -> None:
    """Make what another program wrote into a file survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; after a return their names survive a power cut."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
    fsync_folder(folder.parent)


def write_atomic(path: Path, content: bytes, *, mode: int = 0o644, is_lasting: bool = True) -> None:
    """Replace a file as a whole; after a return it survives a power cut.

    After a raise the old file stands; only when the folder could not be flushed the new one may, whole as well.

    Args:
        path: The file.
        content: What it is to hold.
        mode: Its permissions.
        is_lasting: Whether it must survive a power cut; a mark that is worth little then costs no flush of the disk.

    Raises:
        Failure: `state-unwritable`, with the system's reason.
    """
    try:
        make_folder(path.parent)
        descriptor, name = _open_unfinished(path)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fchmod(stream.fileno(), mode)
                if is_lasting:
                    os.fsync(stream.fileno())
                failpoint("files.before_rename")
                os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
        if is_lasting:
            fsync_folder(path.parent)
        failpoint("files.after_rename")
    except OSError as error:
        raise unwritable_failure(path, error) from error


def delete_unfinished(folder: Path) -> int:
    """Delete what killed writers left in a folder (never a file that a living one is writing); return how many."""
    swept = 0
    with contextlib.suppress(FileNotFoundError):
        for path in folder.glob(".*.tmp"):
            with contextlib.suppress(OSError):
                swept += _delete_unlocked(path)
    return swept


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
    """Return a value as our state files hold it: sorted keys, two spaces, a final newline.

    Half characters (lone surrogates), which UTF-8 cannot hold, become escapes.
    """
    built = msgspec.to_builtins(value)
    try:
        return orjson.dumps(built, option=JSON_OPTIONS)
    except orjson.JSONEncodeError:
        return orjson.dumps(escape_surrogates(built), option=JSON_OPTIONS)


def escape_surrogates(value: Any) -> Any:
    """Return plain lists, mappings, paths and texts with each lone surrogate as an escape."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, Mapping):
        return {escape_surrogates(key): escape_surrogates(item) for key, item in value.items()}
    return [escape_surrogates(item) for item in value] if isinstance(value, (list, tuple)) else value


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
        raise _unreadable_failure(path, "opened", error) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Failure("file-not-regular", f"{printable_path(path)} is not a regular file.")
        yield descriptor
    except OSError as error:
        raise _unreadable_failure(path, "read", error) from error
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
            raise _too_large_failure(path, size, max_bytes)
        content = read_to_end(descriptor, max_bytes)
        if len(content) > max_bytes:
            raise _too_large_failure(path, len(content), max_bytes)
        return content


def read_to_end(descriptor: int, max_bytes: int) -> bytes:
    """Read an open file from where it stands to its end, or to a little beyond the limit; it may grow meanwhile."""
    blocks: list[bytes] = []
    total = 0
    while total <= max_bytes and (block := os.read(descriptor, _READ_BLOCK)):
        blocks.append(block)
        total += len(block)
    return b"".join(blocks)


def read_state(
    path: Path, shape: type[T], *, max_bytes: int = 256 << 20, only_look: bool = False
) -> T | CorruptFile | None:
    """Read and validate a JSON state file.

    Args:
        path: The file.
        shape: What it should hold.
        max_bytes: The size above which it counts as damaged.
        only_look: Leave a damaged file where it is: the caller writes nothing in its place.

    Returns:
        The value; None when there is no file; `Damaged` when it was set aside as `<name>.damaged-N`, whether its
        content is wrong or it cannot be read at all: the caller will write a new one in its place.
    """
    try:
        content = read_regular(path, max_bytes=max_bytes)
    except Failure as failure:
        if isinstance(failure.__cause__, FileNotFoundError):
            return None
        return CorruptFile(path=path, moved_to=None if only_look else set_aside(path), reason=failure.message)
    try:
        return msgspec.convert(orjson.loads(content), shape)
    except (ValueError, msgspec.ValidationError, RecursionError) as error:
        return CorruptFile(path=path, moved_to=None if only_look else set_aside(path), reason=str(error))


def set_aside(path: Path) -> Path | None:
    """Move a damaged file to a free name beside it and return that name; None when it could not be moved."""
    for number in range(1, 1000):
        spare = path.with_name(f"{path.name}.damaged-{number}")
        if os.path.lexists(spare):
            continue
        try:
            os.rename(path, spare)
        except OSError:
            return None
        return spare
    return None


def unwritable_failure(path: str | os.PathLike[str], error: OSError, *, verb: str = "written") -> Failure:
    """Return the failure of a file or folder that cannot be written (or made, or opened), with the system's reason."""
    return Failure(
        "state-unwritable",
        f"{printable_path(path)} cannot be {verb}: {os_error_text(error)}.",
        hint="Free space or fix the permissions of that folder, then run the command again.",
    )


def _open_unfinished(path: Path) -> tuple[int, str]:
    # The lock says that the writer lives; a sweeper that came between making and locking has deleted the name.
    while True:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:
            return descriptor, name
        if os.fstat(descriptor).st_nlink:
            return descriptor, name
        os.close(descriptor)


def _delete_unlocked(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    finally:
        os.close(descriptor)
    return True


def _escape_path_char(char: str) -> str:
    if ord(char) in _SURROGATE_BYTES:
        return f"\\x{ord(char) & 0xFF:02x}"
    escape = char.encode("unicode_escape").decode("ascii")
    return escape if char.isascii() else escape.replace("\\x", "\\u00")


def _unreadable_failure(path: Path, verb: str, error: OSError | ValueError) -> Failure:
    reason = f"{printable_path(path)} cannot be {verb}: {os_error_text(error)}."
    return Failure("file-unreadable", reason, hint="Check its name, its permissions, and that its disk is mounted.")


def _too_large_failure(path: Path, size: int, max_bytes: int) -> Failure:
    return Failure(
        "file-too-large",
        f"{printable_path(path)} is {format_size(size)} large; at most {format_size(max_bytes)} "
        "are read of such a file.",
    )
