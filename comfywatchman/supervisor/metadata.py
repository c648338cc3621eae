"""Reading and deleting files in a workspace's `.metadata/`, which other programs write too.

Every file there is replaced as a whole. One that is missing, damaged, too large, of other types or not a regular file
reads as None, and is left in place: the next write replaces it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import orjson

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import make_folder, read_regular, unwritable_failure

METADATA: Final = ".metadata"
"""The folder for state files in a workspace."""

MAX_STATE_BYTES: Final = 1 << 20
"""Far above any of these files; a larger one is not ours."""

StateT = TypeVar("StateT")


def read_metadata_file(path: Path, shape: type[StateT]) -> StateT | None:
    """Return the content of a JSON file in `.metadata/`; None when it cannot be used, for whatever reason."""
    content = read_metadata_bytes(path)
    if content is None:
        return None
    try:
        return msgspec.convert(orjson.loads(content), shape)
    except (ValueError, msgspec.ValidationError, RecursionError):
        return None


def read_metadata_bytes(path: Path) -> bytes | None:
    """Return the content of a file in `.metadata/`; None when it is missing, too large or not a regular file."""
    try:
        return read_regular(path, max_bytes=MAX_STATE_BYTES)
    except Failure:
        return None


def read_metadata_number(path: Path) -> int | None:
    """Return the whole number that a text file in `.metadata/` holds; None when it holds something else."""
    content = read_metadata_bytes(path)
    # Not int() alone: it takes underscores, signs and digits of every script, and texts of any length.
    if content is None or not re.fullmatch(rb"\s*[0-9]{1,10}\s*", content):
        return None
    return int(content)


def create_metadata_folder(folder: Path) -> None:
    """Create a folder for state files, if it does not exist.

    Raises:
        Failure: `state-unwritable`.
    """
    try:
        make_folder(folder)
    except OSError as error:
        raise unwritable_failure(folder, error, verb="created") from error


def delete_metadata_file(path: Path) -> None:
    """Delete a file in `.metadata/`; nothing happens when there is none.

    Raises:
        Failure: `state-unwritable`.
    """
    try:
        path.unlink(missing_ok=True)
    except NotADirectoryError:
        return
    except OSError as error:
        raise unwritable_failure(path, error, verb="deleted") from error
