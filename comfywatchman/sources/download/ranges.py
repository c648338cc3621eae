"""Receive a large file over several connections: ranges are fetched side by side and appended in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.stream import HttpStream
from comfywatchman.sources.download.body import StallDetector, append_block, read_block, stop_failure
from comfywatchman.sources.download.limits import DownloadLimits
from comfywatchman.sources.download.partial_file import BLOCK_BYTES, PartialFile
from comfywatchman.sources.download.responses import PARTIAL, TransientFailure, is_exact_range

SEGMENT_BYTES: Final = 8 << 20
"""Bytes of one range; the ranges on their way are in memory, so that the file grows in order."""

_READ_AHEAD: Final = 4
"""Ranges that wait beside those of the connections, so that none of these is idle while an earlier one is slow."""

MIN_BYTES: Final = 64 << 20
"""Smaller rests come over one connection, where more would only add requests."""

OpenRange = Callable[[int, int], HttpStream]
"""Requests the bytes from the first to the last position."""


@dataclass(frozen=True, slots=True)
class RangeTransfer:
    """The rest of a file that is fetched in ranges.

    Attributes:
        open_range: Requests a range.
        total: Size of the whole file.
        connections: Ranges that are fetched at the same time.
        stall_seconds: See `StallDetector`.
        limits: Limits of the run.
    """

    open_range: OpenRange
    total: int
    connections: int
    stall_seconds: float
    limits: DownloadLimits


def receive_ranges(part: PartialFile, folder: int, transfer: RangeTransfer) -> None:
    """Append the missing bytes of a file to its partial file, as the ranges arrive in order.

    A kill leaves a partial file like that of one connection: a beginning of the file without holes.

    Args:
        part: The partial file.
        folder: Descriptor of its folder.
        transfer: The ranges to fetch.

    Raises:
        TransientFailure: A range failed; those before it are in the file.
        Failure: `download-no-space`, `download-stopped`.
    """
    limits = transfer.limits
    with limits.disk.reserve(folder, transfer.total - part.size) as release, _open_workers(transfer) as fetch:
        starts = iter(range(part.size, transfer.total, SEGMENT_BYTES))
        running: deque[Future[bytearray]] = deque()
        for start in starts:
            running.append(fetch(start))
            if len(running) < transfer.connections + _READ_AHEAD:
                continue
            _append_segment(part, running.popleft().result(), transfer, release)
        while running:
            _append_segment(part, running.popleft().result(), transfer, release)


@contextmanager
def _open_workers(transfer: RangeTransfer) -> Iterator[Callable[[int], Future[bytearray]]]:
    """Yield a function that fetches the range at a position in another thread; all of them end with the block."""
    cancelled = threading.Event()
    with ThreadPoolExecutor(transfer.connections, thread_name_prefix="range") as threads:
        try:
            yield lambda start: threads.submit(_fetch_segment, start, transfer, cancelled)
        finally:
            cancelled.set()
            # Queued ranges would still be requested.
            threads.shutdown(wait=False, cancel_futures=True)


def _append_segment(
    part: PartialFile, segment: bytearray, transfer: RangeTransfer, release: Callable[[int], None]
) -> None:
    view = memoryview(segment)
    for position in range(0, len(segment), BLOCK_BYTES):
        append_block(part, bytes(view[position : position + BLOCK_BYTES]))
    release(len(segment))
    transfer.limits.report_progress(part.size, transfer.total)


def _fetch_segment(start: int, transfer: RangeTransfer, cancelled: threading.Event) -> bytearray:
    """Return the bytes of one range.

    Raises:
        TransientFailure: The server sent another range, or broke off.
        Failure: `download-stopped`.
    """
    last = min(start + SEGMENT_BYTES, transfer.total) - 1
    segment = bytearray()
    if cancelled.is_set():
        return segment
    with _open_range(start, last, transfer) as stream:
        shown = stream.address.printable
        if stream.status != PARTIAL or not is_exact_range(stream.headers, start, last, transfer.total):
            raise TransientFailure(f"{shown} returned a different range than requested ({stream.status}).")
        stall = StallDetector(transfer.stall_seconds)
        while len(segment) < last - start + 1 and not cancelled.is_set():
            began = transfer.limits.monotonic()
            block = read_block(stream, min(BLOCK_BYTES, last - start + 1 - len(segment)), transfer.limits)
            waited_seconds = transfer.limits.monotonic() - began
            if not block:
                raise TransientFailure(f"{shown} broke off within a range.")
            segment += block
            # The wait for our own speed limit is not the server's.
            if transfer.limits.wait(transfer.limits.bandwidth.take(len(block))):
                raise stop_failure()
            if stall.is_stalled(waited_seconds, len(block)):
                raise TransientFailure(f"{shown} sends too slowly.")
    return segment


def _open_range(start: int, last: int, transfer: RangeTransfer) -> HttpStream:
    try:
        return transfer.open_range(start, last)
    except Failure as failure:
        if transfer.limits.is_stopped():
            raise stop_failure() from failure
        raise TransientFailure(failure.message) from failure
