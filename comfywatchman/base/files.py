"""Files that are whole or absent: atomic writes, and reads with limits."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import orjson

from comfywatchman.base.errors import Failure
from comfywatchman.base.failpoints import failpoint
from comfywatchman.base.text import OS_REMEDIES, describe_os_remedy, format_size, os_error_text

T = TypeVar("T")

JSON_OPTIONS: Final = orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
_READ_BLOCK: Final = 1 << 20
_SURROGATE_BYTES: Final = range(0xDC80, 0xDD00)
"""How Python holds the bytes of a name that is not UTF-8 (PEP 383)."""


def printable_path(path: str | os.PathLike[str]) -> str:
    """Return a path as printable text: bytes that are not UTF-8 and invisible characters become escapes.

    Two different paths never give the same text, so it can serve as a key.
    """
    text = os.fspath(path)
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(_escape_path_char(char) for char in text)


def to_nfc(name: str) -> str:
    """Return a name in composed form (Unicode NFC), to compare it with one written on another system."""
    # macOS decomposes names, Linux keeps what it is given.
    if name.isascii():
        return name
    from unicodedata import normalize

    return normalize("NFC", name)


def is_folder(path: Path | os.DirEntry[str]) -> bool:
    """Return whether a path is a folder, links followed; False when it cannot be examined."""
    try:
        return path.is_dir()
    except OSError:
        return False


def fsync_file(path: Path) -> None:
    """Flush a file that another program wrote, so that its content survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_folder(folder: Path) -> None:
    """Flush a folder, so that the names in it survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create a folder and its missing parents; on return their names survive a power cut."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
    fsync_folder(folder.parent)


def write_atomic(path: Path, content: bytes, *, mode: int = 0o644, is_lasting: bool = True) -> None:
    """Replace a file as a whole; on return it survives a power cut.

    On an error the old file is left as it was, unless only flushing the folder failed: then either file may be there,
    whole.

    Args:
        path: The file.
        content: Its new content.
        mode: Its permissions.
        is_lasting: Whether it must survive a power cut; False saves flushing the disk for marks of little worth.

    Raises:
        Failure: `state-unwritable`, with the system's reason.
    """
    try:
        make_folder(path.parent)
        descriptor, name = _create_temporary(path)
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


def add_missing_lines(path: Path, lines: Iterable[str], *, max_bytes: int) -> None:
    """Add lines to a text file unless it has them; what it holds stays, whatever its encoding.

    Args:
        path: A file of the user, such as a `.gitignore`; created with its folder if missing.
        lines: The lines, without line breaks.
        max_bytes: The largest size that is read.

    Raises:
        Failure: `state-unwritable`, `file-unreadable`, `file-not-regular` or `file-too-large`.
    """
    content = read_regular(path, max_bytes=max_bytes) if path.exists() else b""
    present = set(content.splitlines())
    missing = [line.encode() for line in lines if line.encode() not in present]
    if missing:
        start = content + b"\n" if content and not content.endswith(b"\n") else content
        write_atomic(path, start + b"".join(line + b"\n" for line in missing))


def delete_temporary_files(folder: Path) -> int:
    """Delete the temporary files of killed writers in a folder, never those of running ones; return how many."""
    deleted = 0
    with contextlib.suppress(FileNotFoundError):
        for path in folder.glob(".*.tmp"):
            with contextlib.suppress(OSError):
                deleted += _delete_unless_in_use(path)
    return deleted


def write_if_changed(path: Path, content: bytes, *, mode: int = 0o644) -> bool:
    """Write a file atomically unless it already holds these bytes; return whether it was written.

    Raises:
        Failure: `state-unwritable`.
    """
    with contextlib.suppress(OSError):
        if path.stat().st_size == len(content) and path.read_bytes() == content:
            return False
    write_atomic(path, content, mode=mode)
    return True


def to_json(value: Any) -> bytes:
    """Return a value as JSON in the form of our state files: sorted keys, two spaces, a final newline.

    Lone surrogates, which UTF-8 cannot hold, become escapes.
    """
    builtins = msgspec.to_builtins(value)
    try:
        return orjson.dumps(builtins, option=JSON_OPTIONS)
    except orjson.JSONEncodeError:
        # Only now: escaping copies the whole tree, and hardly any name needs it.
        return orjson.dumps(escape_surrogates(builtins), option=JSON_OPTIONS)


def escape_surrogates(value: Any) -> Any:
    """Return a tree of lists, mappings, paths and strings with each lone surrogate as an escape."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, Mapping):
        return {escape_surrogates(key): escape_surrogates(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [escape_surrogates(item) for item in value]
    return value


@contextlib.contextmanager
def open_regular(path: Path) -> Iterator[int]:
    """Open a regular file for reading and yield its descriptor (for `os.pread`); never block on a FIFO or device.

    System errors inside the block become a `Failure` too.

    Args:
        path: A file that other programs may have created.

    Raises:
        Failure: `file-unreadable` or `file-not-regular`.
    """
    try:
        # O_NONBLOCK: opening a FIFO would otherwise wait for a writer.
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
    """Read a whole regular file; never block on a FIFO or device.

    Args:
        path: A file that other programs may have created.
        max_bytes: The largest size that is read.

    Raises:
        Failure: `file-unreadable`, `file-not-regular` or `file-too-large`.
    """
    with open_regular(path) as descriptor:
        size = os.fstat(descriptor).st_size
        if size > max_bytes:
            raise _too_large_failure(path, size, max_bytes)
        content = read_to_end(descriptor, max_bytes)
        # It may have grown meanwhile; files of /proc have size 0 whatever they hold.
        if len(content) > max_bytes:
            raise _too_large_failure(path, len(content), max_bytes)
        return content


def read_to_end(descriptor: int, max_bytes: int) -> bytes:
    """Read an open file from its current position to its end, stopping a little beyond the limit."""
    blocks: list[bytes] = []
    total = 0
    while total <= max_bytes and (block := os.read(descriptor, _READ_BLOCK)):
        blocks.append(block)
        total += len(block)
    return b"".join(blocks)


def unwritable_failure(path: str | os.PathLike[str], error: OSError, *, verb: str = "written") -> Failure:
    """Return the failure for a file or folder that cannot be written, created or opened, with the system's reason."""
    return Failure(
        "state-unwritable",
        f"{printable_path(path)} cannot be {verb}: {os_error_text(error)}.",
        hint=f"{describe_os_remedy(error)} Then run the command again.",
    )


def _create_temporary(path: Path) -> tuple[int, str]:
    # The lock shows that the writer is running. `delete_temporary_files` may have deleted the file between creating and
    # locking it; then another one is created.
    while True:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:
            return descriptor, name
        if os.fstat(descriptor).st_nlink:
            return descriptor, name
        os.close(descriptor)


def _delete_unless_in_use(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    finally:
        os.close(descriptor)
    return True


def _escape_path_char(char: str) -> str:
    # A backslash is escaped as well, or an escape and a name that spells it out would look the same.
    if char.isprintable() and char != "\\":
        return char
    if ord(char) in _SURROGATE_BYTES:
        return f"\\x{ord(char) & 0xFF:02x}"
    # \xNN stands for a byte, so a character below U+0100 is written \u00NN.
    escape = char.encode("unicode_escape").decode("ascii")
    return escape if char.isascii() else escape.replace("\\x", "\\u00")


def _unreadable_failure(path: Path, verb: str, error: OSError | ValueError) -> Failure:
    message = f"{printable_path(path)} cannot be {verb}: {os_error_text(error)}."
    hint = "Check its name, its permissions, and that its disk is mounted."
    if isinstance(error, OSError) and error.errno in OS_REMEDIES:
        hint = OS_REMEDIES[error.errno]
    return Failure("file-unreadable", message, hint=hint)


def _too_large_failure(path: Path, size: int, max_bytes: int) -> Failure:
    return Failure(
        "file-too-large",
        f"{printable_path(path)} is {format_size(size)}; files up to {format_size(max_bytes)} are read.",
    )
