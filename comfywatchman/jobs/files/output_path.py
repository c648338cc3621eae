"""The place of a job's outputs: always inside the finished tree, whatever the job file names."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path, unwritable_failure
from comfywatchman.base.filesystem import open_below
from comfywatchman.base.text import format_size, os_error_text

_MAX_SEGMENTS: Final = 12
_MAX_SEGMENT_BYTES: Final = 200
_MAX_TEXT: Final = 2000
_GIB: Final = 1 << 30
_REFUSED: Final = re.compile(r'[\\:*?"<>|]')
"""Separators and characters that other systems do not allow in names; a shared folder may be on one of them."""


def find_path_fault(text: str) -> str:
    """Return why a text cannot be a place inside the finished tree; empty when it can. Pure."""
    return next(_find_text_faults(text), "") or next(_find_segment_faults(text), "")


def _find_text_faults(text: str) -> Iterator[str]:
    if not text.strip():
        yield "it is empty"
    if len(text) > _MAX_TEXT:
        yield "it is too long"
    if not text.isprintable():
        yield "it contains an invisible character"
    refused = _REFUSED.search(text)
    if refused:
        yield f"it contains the character {refused.group()}; folders are separated by /"
    if text.startswith("/"):
        yield "it is outside of the finished folder; leave out the / at its beginning"


def _find_segment_faults(text: str) -> Iterator[str]:
    segments = [segment for segment in text.split("/") if segment not in {"", "."}]
    if not segments:
        yield "it names no folder or file"
    if len(segments) > _MAX_SEGMENTS:
        yield f"it has more than {_MAX_SEGMENTS} folders"
    for segment in segments:
        if segment == "..":
            yield "it leads out of the finished folder (..)"
        if segment.startswith((".", "~")):
            yield f"{segment!r} begins with {segment[0]}"
        if segment != segment.strip() or segment.endswith("."):
            yield f"{segment!r} begins or ends with a space, or ends with a dot"
        if len(segment.encode("utf-8")) > _MAX_SEGMENT_BYTES:
            yield f"a name in it is longer than {_MAX_SEGMENT_BYTES} bytes"


def make_relative(text: str, finished: Path) -> str:
    """Return a place relative to the finished tree. Pure.

    A place may be given relative to that tree (`image/fox.png`), by its full path, or, as in the original, from the
    folder that holds `jobs/` (`jobs/finished/image/fox.png`). The result is only safe after `find_path_fault`.

    Args:
        text: The place as a job file gives it.
        finished: The finished tree.
    """
    # Not Path: it would read `a/../b` as it stands, but drop `.` and double slashes that find_path_fault counts.
    for prefix in (finished.as_posix(), "/".join(finished.parts[-2:])):
        if text.startswith(prefix + "/"):
            return text[len(prefix) + 1 :].lstrip("/")
    return text


def normalize_output_path(text: str, finished: Path) -> str:
    """Return a place relative to the finished tree, in its shortest form. Pure.

    Args:
        text: The place as a job file gives it.
        finished: The finished tree.

    Raises:
        ValueError: It is not inside the finished tree; the text says why.
    """
    relative = make_relative(text, finished)
    fault = find_path_fault(relative)
    if fault:
        raise ValueError(fault)
    return str(PurePosixPath(relative))


@contextmanager
def open_output_folder(finished: Path, relative: str) -> Iterator[int]:
    """Open a folder of the finished tree, create missing folders, and yield its descriptor.

    Links below the tree are not followed, so that nothing is written elsewhere, even if a folder is replaced by a link
    meanwhile.

    Args:
        finished: The finished tree; it may be a link itself.
        relative: The folder below it, as `normalize_output_path` returns it; empty for the tree itself.

    Raises:
        Failure: `jobs-output-refused` for a place outside of the tree or a link in it, `state-unwritable`.
    """
    fault = find_path_fault(relative) if relative else ""
    if fault:
        raise Failure("jobs-output-refused", f"{printable_path(relative[:300])} is not written: {fault}.")
    # Only errors of opening become a failure of the folder, not those of the caller's block.
    stack = ExitStack()
    try:
        finished.mkdir(parents=True, exist_ok=True)
        descriptor = stack.enter_context(open_below(finished, PurePosixPath(relative).parts, create=True))
    except OSError as error:
        path = Path(error.filename or finished)
        if error.errno in {errno.ELOOP, errno.ENOTDIR}:
            raise Failure(
                "jobs-output-refused",
                f"{printable_path(path)} is a link or not a folder; links in the finished folder are not followed.",
                hint="Replace it with a folder, or set jobs.root to the place that it leads to.",
            ) from error
        raise unwritable_failure(path, error, verb="opened") from error
    with stack:
        yield descriptor


def find_output_obstacle(finished: Path, relative: str, *, min_free_gb: float) -> str | None:
    """Return why outputs cannot be written to a folder of the finished tree; None when they can.

    The folder is created, and a file is created in it and deleted.
    """
    try:
        with open_output_folder(finished, relative) as folder:
            # Permissions alone do not show a full disk, a used-up quota or a read-only mount.
            name = f".{os.getpid()}.probe.tmp"
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600, dir_fd=folder))
            os.unlink(name, dir_fd=folder)
            space = os.fstatvfs(folder)
    except Failure as failure:
        return failure.message
    except OSError as error:
        return f"{printable_path(finished / relative)} cannot be written: {os_error_text(error)}."
    free = space.f_bavail * space.f_frsize
    if free < min_free_gb * _GIB:
        return (
            f"The disk of {printable_path(finished)} has {format_size(free)} left; jobs.min_free_disk_gb asks for more."
        )
    return None
