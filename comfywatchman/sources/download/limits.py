"""What all downloads of one run share: the bandwidth, the room on the disks, the wish to stop."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.text import format_size

_BURST_SECONDS: Final = 0.25


class Bandwidth:
    """A limit that any number of threads keep together.

    Args:
        bytes_per_second: 0 for none.
        monotonic: Seconds of a steady clock.
    """

    def __init__(self, bytes_per_second: float, monotonic: Callable[[], float]) -> None:
        self.bytes_per_second = bytes_per_second
        self._monotonic = monotonic
        self._free_at = 0.0
        self._lock = threading.Lock()

    def take(self, count: int) -> float:
        """Count bytes that came, and return how many seconds to wait before asking for more."""
        if self.bytes_per_second <= 0:
            return 0.0
        with self._lock:
            now = self._monotonic()
            self._free_at = max(self._free_at, now - _BURST_SECONDS) + count / self.bytes_per_second
            return max(0.0, self._free_at - now)


class DiskReservation:
    """Free space, less what the downloads under way have yet to write.

    Args:
        keep_free_bytes: What has to stay free on every disk.
    """

    def __init__(self, keep_free_bytes: int) -> None:
        self._keep_free_bytes = keep_free_bytes
        self._promised: dict[int, int] = {}
        self._lock = threading.Lock()

    @contextmanager
    def reserve(self, folder: int, count: int) -> Iterator[Callable[[int], None]]:
        """Set bytes aside for a download, and give a function that is told of each piece that was written.

        Args:
            folder: Descriptor of the folder it goes to.
            count: What it has yet to write; 0 when nobody knows.

        Raises:
            Failure: `download-no-space`, before anything was written; the given function raises it while it goes on.
        """
        device = os.fstat(folder).st_dev
        left = [count]
        with self._lock:
            self._check(folder, device, count)
            self._promised[device] = self._promised.get(device, 0) + count

        def written(piece: int) -> None:
            with self._lock:
                step = min(piece, left[0])
                left[0] -= step
                self._promised[device] -= step
                if free_bytes(folder) < self._keep_free_bytes:
                    raise disk_full_failure(self._keep_free_bytes)

        try:
            yield written
        finally:
            with self._lock:
                self._promised[device] -= left[0]

    def _check(self, folder: int, device: int, count: int) -> None:
        free = free_bytes(folder) - self._promised.get(device, 0)
        if free - count < self._keep_free_bytes:
            raise disk_full_failure(self._keep_free_bytes, needed=count, free=free)


def free_bytes(folder: int) -> int:
    """Return what an ordinary user may still write to the disk of a folder, in bytes."""
    found = os.fstatvfs(folder)
    return found.f_bavail * found.f_frsize


def disk_full_failure(keep_free_bytes: int, *, needed: int = 0, free: int | None = None) -> Failure:
    """Return the failure of a disk that cannot take a file, with the figures as far as they are known."""
    figures = "" if free is None else f": {format_size(needed)} are needed, {format_size(max(0, free))} are free"
    return Failure(
        "download-no-space",
        f"The disk has no room for it{figures}, and {format_size(keep_free_bytes)} are to stay free.",
        hint="Free space, or lower [downloads] keep_free_gb. What came already is kept and will be continued.",
    )


@dataclass(frozen=True, slots=True)
class DownloadLimits:
    """What a download needs of the run it belongs to.

    Attributes:
        wait: Waits so many seconds; True when the run is to stop.
        bandwidth: The shared limit.
        room: The shared disks.
        progress: Told how many bytes are there, and how many there will be (None when nobody knows).
        monotonic: Seconds of a steady clock.
    """

    wait: Callable[[float], bool]
    bandwidth: Bandwidth
    room: DiskReservation
    progress: Callable[[int, int | None], None]
    monotonic: Callable[[], float]
