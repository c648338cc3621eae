"""Limits that all downloads of one run share: bandwidth, free disk space and the request to stop."""

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
    """A bandwidth limit shared by any number of threads.

    Args:
        bytes_per_second: 0 for no limit.
        monotonic: Returns the seconds of a monotonic clock.
    """

    def __init__(self, bytes_per_second: float, monotonic: Callable[[], float]) -> None:
        self.bytes_per_second = bytes_per_second
        self._monotonic = monotonic
        self._free_at = 0.0
        self._lock = threading.Lock()

    def take(self, byte_count: int) -> float:
        """Count received bytes, and return how many seconds to wait before reading more."""
        if self.bytes_per_second <= 0:
            return 0.0
        with self._lock:
            now = self._monotonic()
            # Unused bandwidth is carried over for a quarter of a second only, so that a pause is not made up for.
            earliest = max(self._free_at, now - _BURST_SECONDS)
            self._free_at = earliest + byte_count / self.bytes_per_second
            return max(0.0, self._free_at - now)


class DiskReservation:
    """Free disk space, minus the bytes that running downloads still need.

    Args:
        keep_free_bytes: Space that must stay free on every disk.
    """

    def __init__(self, keep_free_bytes: int) -> None:
        self._keep_free_bytes = keep_free_bytes
        self._reserved: dict[int, int] = {}
        self._lock = threading.Lock()

    @contextmanager
    def reserve(self, folder: int, byte_count: int) -> Iterator[Callable[[int], None]]:
        """Reserve space for a download, and yield a function to call with the size of each part that was written.

        Args:
            folder: Descriptor of the target folder.
            byte_count: Bytes still to be written; 0 when unknown.

        Raises:
            Failure: `download-no-space`, before anything is written; the yielded function raises it later on.
        """
        device = os.fstat(folder).st_dev
        remaining = byte_count
        with self._lock:
            self._check_free_space(folder, device, byte_count)
            self._reserved[device] = self._reserved.get(device, 0) + byte_count

        def release(written_bytes: int) -> None:
            nonlocal remaining
            with self._lock:
                released = min(written_bytes, remaining)
                remaining -= released
                self._reserved[device] -= released
                # Other programs write to the same disk, so the reservation alone is not enough.
                if get_free_bytes(folder) < self._keep_free_bytes:
                    raise disk_full_failure(self._keep_free_bytes)

        try:
            yield release
        finally:
            with self._lock:
                self._reserved[device] -= remaining

    def _check_free_space(self, folder: int, device: int, byte_count: int) -> None:
        free = get_free_bytes(folder) - self._reserved.get(device, 0)
        if free - byte_count < self._keep_free_bytes:
            raise disk_full_failure(self._keep_free_bytes, needed=byte_count, free=free)


def get_free_bytes(folder: int) -> int:
    """Return how many bytes an unprivileged user can still write to the disk of a folder."""
    status = os.fstatvfs(folder)
    return status.f_bavail * status.f_frsize


def disk_full_failure(keep_free_bytes: int, *, needed: int = 0, free: int | None = None) -> Failure:
    """Return the failure for a disk without enough free space."""
    figures = ""
    if free is not None:
        figures = f": {format_size(needed)} needed, {format_size(max(0, free))} free"
    return Failure(
        "download-no-space",
        f"Not enough disk space{figures}; {format_size(keep_free_bytes)} must stay free.",
        hint="Free some space, or lower [downloads] keep_free_gb. The partial file is kept and will be resumed.",
    )


@dataclass(frozen=True, slots=True)
class DownloadLimits:
    """Limits and callbacks of the run that a download belongs to.

    Attributes:
        wait: Waits this many seconds; returns True when the run is to stop.
        bandwidth: The shared bandwidth limit.
        disk: The shared reservation of disk space.
        report_progress: Called with the size of the partial file and of the whole file (None when unknown).
        monotonic: Returns the seconds of a monotonic clock.
    """

    wait: Callable[[float], bool]
    bandwidth: Bandwidth
    disk: DiskReservation
    report_progress: Callable[[int, int | None], None]
    monotonic: Callable[[], float]

    def is_stopped(self) -> bool:
        """Return whether the run is to stop."""
        return self.wait(0)
