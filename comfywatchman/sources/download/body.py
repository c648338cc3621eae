"""Receive the body of one response into a partial file."""

from __future__ import annotations

import errno
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import unwritable_failure
from comfywatchman.base.stream import HttpStream
from comfywatchman.base.text import format_size
from comfywatchman.sources.download.limits import DownloadLimits, disk_full_failure
from comfywatchman.sources.download.partial_file import BLOCK_BYTES, PartialFile
from comfywatchman.sources.download.responses import TransientFailure

_THROTTLED_BLOCK_BYTES: Final = 16 << 10
_DISK_CHECK_BYTES: Final = 32 << 20
_MIN_BYTES_PER_SECOND: Final = 512
_DISK_FULL_ERRORS: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class StallDetector:
    """Detects a server that sends next to nothing; only the time spent waiting for it counts.

    Args:
        stall_seconds: After this much waiting, at least 512 bytes for each second of it must have come.
    """

    def __init__(self, stall_seconds: float) -> None:
        self._stall_seconds = stall_seconds
        self._waited_seconds = 0.0
        self._received_bytes = 0

    def is_stalled(self, waited_seconds: float, received_bytes: int) -> bool:
        """Count one read, and return whether the server is too slow."""
        self._waited_seconds += waited_seconds
        self._received_bytes += received_bytes
        if self._waited_seconds < self._stall_seconds:
            return False
        is_too_slow = self._received_bytes < self._waited_seconds * _MIN_BYTES_PER_SECOND
        self._waited_seconds = 0.0
        self._received_bytes = 0
        return is_too_slow


def receive_body(
    stream: HttpStream,
    part: PartialFile,
    *,
    folder: int,
    total: int | None,
    max_bytes: int,
    stall_seconds: float,
    limits: DownloadLimits,
) -> None:
    """Append a body to a partial file until it ends or fails.

    Args:
        stream: The response, its body not read yet.
        part: The partial file.
        folder: Descriptor of its folder.
        total: Size of the whole file, when known.
        max_bytes: A file larger than this cannot be the requested one.
        stall_seconds: See `StallDetector`.
        limits: Limits of the run.

    Raises:
        TransientFailure: The server broke off or stopped sending; the received bytes are in the file.
        Failure: `download-wrong-content` for too many bytes, `download-no-space`, `download-stopped`.
    """
    stall = StallDetector(stall_seconds)
    # Small blocks keep a throttled download even: a large one would be followed by a long pause.
    block_bytes = _THROTTLED_BLOCK_BYTES if limits.bandwidth.bytes_per_second else BLOCK_BYTES
    missing_bytes = max(0, (total or 0) - part.size)
    with limits.disk.reserve(folder, missing_bytes) as release:
        checked_size = part.size
        while True:
            began = limits.monotonic()
            block = read_block(stream, block_bytes, limits)
            waited_seconds = limits.monotonic() - began
            if not block:
                break
            if part.size + len(block) > max_bytes:
                part.clear()
                raise _too_large_failure(stream, max_bytes)
            append_block(part, block)
            limits.report_progress(part.size, total)
            if part.size - checked_size >= _DISK_CHECK_BYTES:
                release(part.size - checked_size)
                checked_size = part.size
            if limits.wait(limits.bandwidth.take(len(block))):
                raise stop_failure()
            if stall.is_stalled(waited_seconds, len(block)):
                raise TransientFailure(f"{stream.address.printable} sends too slowly.")


def stop_failure() -> Failure:
    """Return the failure for a download that the user stopped."""
    return Failure(
        "download-stopped",
        "The download was stopped; the partial file is kept.",
        hint="Run the same command again to resume it.",
    )


def read_block(stream: HttpStream, max_bytes: int, limits: DownloadLimits) -> bytes:
    """Return the next bytes of a body.

    Raises:
        TransientFailure: The server broke off or stopped sending.
        Failure: `download-stopped`.
    """
    try:
        return stream.read(max_bytes)
    except Failure as failure:
        # A stop cuts the connections, which looks like a network failure here.
        if limits.is_stopped():
            raise stop_failure() from failure
        raise TransientFailure(failure.message) from failure


def append_block(part: PartialFile, block: bytes) -> None:
    """Append received bytes to a partial file.

    Raises:
        Failure: `download-no-space` or `state-unwritable`.
    """
    try:
        part.append(block)
    except OSError as error:
        if error.errno in _DISK_FULL_ERRORS:
            raise disk_full_failure(0) from error
        raise unwritable_failure("The partial file", error) from error


def _too_large_failure(stream: HttpStream, max_bytes: int) -> Failure:
    return Failure(
        "download-wrong-content",
        f"{stream.address.printable} sends more than {format_size(max_bytes)}, the size of the requested file.",
        hint="Search again (comfywatchman resolve --refresh): the file may have been replaced.",
    )
