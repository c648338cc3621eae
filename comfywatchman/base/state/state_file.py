"""JSON state files: validated when read, damaged ones set aside, those of later versions left alone."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import orjson

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path, read_regular, to_json, write_atomic
from comfywatchman.base.state.version import find_later_version, find_later_version_in_text, known_version

T = TypeVar("T")

_MAX_BYTES: Final = 256 << 20


@dataclass(frozen=True, slots=True)
class CorruptFile:
    """A state file that could not be used.

    Attributes:
        path: Its path.
        moved_to: The path it was moved to; None when it was left in place or could not be moved.
        reason: Why it could not be used, as text.
        later_version: Its schema version when a later version of this program wrote it. Such a file is left in place,
            and `write_state` never replaces it.
    """

    path: Path
    moved_to: Path | None
    reason: str
    later_version: int | None = None


def read_state(
    path: Path, shape: type[T], *, max_bytes: int = _MAX_BYTES, only_look: bool = False
) -> T | CorruptFile | None:
    """Read and validate a JSON state file.

    Args:
        path: The file.
        shape: The type of its content.
        max_bytes: The size above which it counts as corrupt.
        only_look: Leave a corrupt file in place, for callers that write nothing in its place.

    Returns:
        The value; None when there is no file; `CorruptFile` when its content is wrong, a value is out of range, or it
        cannot be read. It was then moved to `<name>.damaged-N`, so that the caller can write a new one. A file of a
        later version of this program is a `CorruptFile` too, but stays where it is.
    """
    try:
        content = read_regular(path, max_bytes=max_bytes)
    except Failure as failure:
        if isinstance(failure.__cause__, FileNotFoundError):
            return None
        reason = failure.message
    else:
        try:
            document = orjson.loads(content)
            later = find_later_version(document, shape)
            if later is not None:
                return CorruptFile(path, None, _describe_later_version(later, shape), later)
            return _check_ranges(msgspec.convert(document, shape))
        except (ValueError, msgspec.ValidationError, RecursionError) as error:
            reason = str(error)
    moved_to = None if only_look else set_aside(path)
    return CorruptFile(path=path, moved_to=moved_to, reason=reason)


def write_state(path: Path, value: msgspec.Struct, *, is_lasting: bool = True) -> bool:
    """Write a JSON state file if its content changed; return whether it was written.

    Args:
        path: The file.
        value: Its new content.
        is_lasting: Whether it must survive a power cut; see `write_atomic`.

    Raises:
        Failure: `state-newer` when a later version of this program wrote the file; `state-unwritable`.
    """
    content = to_json(value)
    try:
        old = read_regular(path, max_bytes=_MAX_BYTES)
    except Failure:
        old = None
    if old == content:
        return False
    later = None if old is None else find_later_version_in_text(old, type(value))
    if later is not None:
        raise Failure(
            "state-newer",
            f"{printable_path(path)} is not changed: {_describe_later_version(later, type(value))}.",
            hint="Update comfywatchman, or move that file away.",
        )
    write_atomic(path, content, is_lasting=is_lasting)
    return True


def describe_corrupt_file(file: CorruptFile) -> str:
    """Return why a state file was not used, and where it is now, as text for people."""
    path = printable_path(file.path)
    if file.later_version is not None:
        return f"{path} was not used and is not changed: {file.reason}"
    if file.moved_to is None:
        return f"{path} was damaged ({file.reason})"
    return f"{path} was damaged ({file.reason}); it was moved to {printable_path(file.moved_to)}"


def set_aside(path: Path, *, word: str = "damaged") -> Path | None:
    """Rename a corrupt file to `<name>.damaged-N` and return the new path; None when it could not be renamed."""
    for number in range(1, 1000):
        spare = path.with_name(f"{path.name}.{word}-{number}")
        if os.path.lexists(spare):
            continue
        try:
            os.rename(path, spare)
        except OSError:
            return None
        return spare
    return None


def _check_ranges(value: T) -> T:
    # Ranges that types cannot express, such as those of times.
    check = getattr(value, "check_ranges", None)
    if check is not None:
        check()
    return value


def _describe_later_version(version: int, shape: type[Any]) -> str:
    return f"a later version wrote it (schema_version {version}; this program knows {known_version(shape)})"
