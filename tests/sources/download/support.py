"""Download in tests: with short time limits, from local servers, into a folder of their own."""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.stream import ConnectionPool
from comfywatchman.comfyui.models.file import check_descriptor
from comfywatchman.sources.download.attempt import Downloader
from comfywatchman.sources.download.fetch import download_file
from comfywatchman.sources.download.limits import Bandwidth, DiskReservation, DownloadLimits
from comfywatchman.sources.download.redirects import HostPolicy
from comfywatchman.sources.download.retry import RetryPolicy
from comfywatchman.sources.download.target import DownloadRequest, DownloadResult
from tests.model_files import with_header

QUICK: Final = RetryPolicy(
    attempts=4, first_wait_seconds=0.0, longest_wait_seconds=5.0, stall_seconds=60.0, max_bytes=20 << 20
)
"""Retries without waits; no server is too slow for it."""

IMPATIENT: Final = replace(QUICK, attempts=12, stall_seconds=0.5)
"""For servers that fall silent on purpose; afterwards a slow one has twelve attempts."""


def model(size: int = 300_000, *, seed: int = 1) -> bytes:
    """Return a valid safetensors file of about that size with random bytes."""
    header = b'{"a":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (size, size)
    return with_header(header, random.Random(seed).randbytes(size))  # noqa: S311 - bytes of a test file


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def check(descriptor: int, name: str, size: int) -> Failure | None:
    """Check a file's header as the program does."""
    problem = check_descriptor(descriptor, name, size).problem
    return Failure("download-wrong-content", f"{name}: {problem}.") if problem else None


def build_limits(
    *,
    wait: Callable[[float], bool] = lambda _seconds: False,
    report_progress: Callable[[int, int | None], None] = lambda _have, _total: None,
    bytes_per_second: float = 0.0,
    keep_free_bytes: int = 0,
) -> DownloadLimits:
    bandwidth = Bandwidth(bytes_per_second, time.monotonic)
    return DownloadLimits(wait, bandwidth, DiskReservation(keep_free_bytes), report_progress, time.monotonic)


def download_into(
    folder: Path,
    request: DownloadRequest,
    *,
    hosts: frozenset[str],
    tokens: dict[str, str] | None = None,
    retry: RetryPolicy = QUICK,
    limits: DownloadLimits | None = None,
    connections: ConnectionPool | None = None,
) -> DownloadResult:
    """Download a file from local servers."""
    own = connections or ConnectionPool(stall_seconds=retry.stall_seconds, may_be_private=hosts.__contains__)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        downloader = Downloader(
            own,
            HostPolicy(local_hosts=hosts, tokens=tokens or {}),
            retry,
            limits or build_limits(),
            lambda: datetime.now(UTC),
        )
        return download_file(request, descriptor, downloader, check=check, boot_id="boot-1")
    finally:
        os.close(descriptor)
        if connections is None:
            own.close()
