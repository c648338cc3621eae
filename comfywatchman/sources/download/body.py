"""One answer's body, taken block by block into an unfinished file."""

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

_SLOW_BLOCK_BYTES: Final = 16 << 10
_LOOK_EVERY_BYTES: Final = 32 << 20
_LEAST_BYTES_PER_SECOND: Final = 512
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class StallDetector:
    """Tells a server that drips from one that is slow: only the time spent waiting for it counts.

    Args:
        stall_seconds: After so much waiting, at least 512 bytes for each second of it must have come.
    """

    def __init__(self, stall_seconds: float) -> None:
        self._stall_seconds = stall_seconds
        self._waited = 0.0
        self._came = 0

    def is_stalled(self, waited_seconds: float, came: int) -> bool:
        """Count one read and say whether the server is too slow to be waited for."""
        self._waited += waited_seconds
        self._came += came
        if self._waited < self._stall_seconds:
            return False
        too_little = self._came < self._waited * _LEAST_BYTES_PER_SECOND
        self._waited, self._came = 0.0, 0
        return too_little


def receive_body(
    stream: HttpStream,
    part: PartialFile,
    *,
    folder: int,
    total: int | None,
    most_bytes: int,
    stall_seconds: float,
    flow: DownloadLimits,
) -> None:
    """Append a body to an unfinished file, to its end or until something is wrong.

    Args:
        stream: The answer, its body not begun.
        part: What is there of the file already.
        folder: Descriptor of the file's folder.
        total: Size of the whole file, when known.
        most_bytes: Size beyond which the file cannot be the one that is wanted.
        stall_seconds: See `Pace`.
        flow: The run it belongs to.

    Raises:
        Passing: The server broke off or stopped sending; what came is in the file.
        Failure: `download-wrong-content` for too many bytes, `download-no-space`, `download-stopped`.
    """
    pace = StallDetector(stall_seconds)
    look_at = _LOOK_EVERY_BYTES
    with flow.room.reserve(folder, max(0, (total or 0) - part.size)) as written:
        noted = part.size
        while True:
            asked_at = flow.monotonic()
            block = _read_block(stream, _SLOW_BLOCK_BYTES if flow.bandwidth.bytes_per_second else BLOCK_BYTES, flow)
            waited = flow.monotonic() - asked_at
            if not block:
                break
            if part.size + len(block) > most_bytes:
                part.begin_anew()
                raise Failure(
                    "download-wrong-content",
                    f"{stream.place.shown} sends more than the {format_size(most_bytes)} that the file may have.",
                    hint="Search again (comfywatchman resolve --refresh): the file may have been replaced.",
                )
            _append_block(part, block)
            flow.progress(part.size, total)
            look_at -= len(block)
            if look_at <= 0:
                written(part.size - noted)
                noted, look_at = part.size, _LOOK_EVERY_BYTES
            if flow.wait(flow.bandwidth.take(len(block))):
                raise stop_failure()
            if pace.is_stalled(waited, len(block)):
                raise TransientFailure(f"{stream.place.shown} sends too slowly.")


def stop_failure() -> Failure:
    """Return the failure of a download that the person stopped."""
    return Failure(
        "download-stopped",
        "The download was stopped; what came of it is kept.",
        hint="Run the same command again to go on from there.",
    )


def _read_block(stream: HttpStream, most_bytes: int, flow: DownloadLimits) -> bytes:
    try:
        return stream.read(most_bytes)
    except Failure as failure:
        if flow.wait(0):
            raise stop_failure() from failure
        raise TransientFailure(failure.message) from failure


def _append_block(part: PartialFile, block: bytes) -> None:
    try:
        part.append(block)
    except OSError as error:
        if error.errno in _FULL:
            raise disk_full_failure(0) from error
        raise unwritable_failure("The unfinished file", error) from error
