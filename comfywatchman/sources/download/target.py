"""The file to download, the result of a download, and a file that has the target name already."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass

from comfywatchman.base.errors import Failure
from comfywatchman.sources.download.body import stop_failure
from comfywatchman.sources.download.partial_file import hash_descriptor


@dataclass(frozen=True, slots=True)
class DownloadRequest:
    """A file to download.

    Attributes:
        name: Its file name, which the caller has validated.
        url: Its address.
        size: In bytes; None when unknown.
        sha256: Lower-case hex; None when unknown.
    """

    name: str
    url: str
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class DownloadResult:
    """A finished download.

    Attributes:
        size: Of the file, in bytes.
        sha256: Of the bytes that were written; lower-case hex.
        received_bytes: Bytes received over the network in this run.
        resumed_from: Size of the partial file that an earlier run left.
        was_there: Whether the right file existed already, so that nothing was downloaded.
    """

    size: int
    sha256: str
    received_bytes: int
    resumed_from: int
    was_there: bool = False


def find_existing_file(
    request: DownloadRequest, folder: int, *, may_go_on: Callable[[], bool]
) -> DownloadResult | None:
    """Return the requested file if it is in the folder already; None when the name is free.

    Raises:
        Failure: `download-target-taken` when another file has the name, or the request has no hash to compare with;
            `download-stopped`.
    """
    try:
        # O_NONBLOCK: opening a FIFO of that name must not wait for a writer.
        descriptor = os.open(request.name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError as error:
        if request.name in os.listdir(folder):
            raise target_taken_failure(request.name, "a dangling link") from error
        return None
    try:
        return _compare_existing_file(request, descriptor, may_go_on)
    finally:
        os.close(descriptor)


def _compare_existing_file(request: DownloadRequest, descriptor: int, may_go_on: Callable[[], bool]) -> DownloadResult:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise target_taken_failure(request.name, "not a regular file")
    has_other_size = request.size is not None and request.size != status.st_size
    if request.sha256 is None or has_other_size:
        raise target_taken_failure(request.name, f"a file of {status.st_size} bytes")
    # Equal size and name prove nothing: versions of a model often differ only in their weights.
    sha256 = hash_descriptor(descriptor, may_go_on)
    if sha256 is None:
        raise stop_failure()
    if sha256 != request.sha256:
        raise target_taken_failure(request.name, f"a file with SHA-256 {sha256[:12]}…")
    return DownloadResult(status.st_size, sha256, received_bytes=0, resumed_from=0, was_there=True)


def target_taken_failure(name: str, existing: str = "another file") -> Failure:
    """Return the failure for a target name that is taken."""
    return Failure(
        "download-target-taken",
        f"{name} exists already: {existing}.",
        hint="Inspect it (comfywatchman inspect), then move it away or keep it.",
    )
