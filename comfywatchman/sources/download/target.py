"""A file that is wanted, what came of fetching it, and what bears its name already."""

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
    """A file to fetch.

    Attributes:
        name: Its file name, already found safe.
        url: Where it is.
        size: In bytes; None when nobody said.
        sha256: Lower-case hex; None when nobody said.
    """

    name: str
    url: str
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class DownloadResult:
    """What came of a fetch.

    Attributes:
        size: Of the file, in bytes.
        sha256: Of its bytes, as they were written; lower-case hex.
        received_bytes: What came over the network for it this time.
        resumed_from: How many bytes were there from an earlier run.
        was_there: Whether the right file had its name already.
    """

    size: int
    sha256: str
    received_bytes: int
    resumed_from: int
    was_there: bool = False


def find_existing_file(wanted: DownloadRequest, folder: int, *, may_go_on: Callable[[], bool]) -> DownloadResult | None:
    """Return the file that has the name already, when it is the wanted one; None when the name is free.

    Raises:
        Failure: `download-target-taken` when it is another file, or nobody can say; `download-stopped`.
    """
    try:
        descriptor = os.open(wanted.name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError as error:
        if wanted.name in os.listdir(folder):
            raise target_taken_failure(wanted.name, "a link to nowhere") from error
        return None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise target_taken_failure(wanted.name, "no regular file")
        if wanted.sha256 is None or found.st_size != (wanted.size or found.st_size):
            raise target_taken_failure(wanted.name, f"a file of {found.st_size} bytes")
        sha256 = hash_descriptor(descriptor, may_go_on)
        if sha256 is None:
            raise stop_failure()
        if sha256 != wanted.sha256:
            raise target_taken_failure(wanted.name, f"a file with SHA-256 {sha256[:12]}…")
        return DownloadResult(found.st_size, sha256, 0, 0, was_there=True)
    finally:
        os.close(descriptor)


def target_taken_failure(name: str, what: str = "another file") -> Failure:
    """Return the failure of a name that is taken."""
    return Failure(
        "download-target-taken",
        f"{name} is there already: {what}.",
        hint="Look at it (comfywatchman inspect), then move it away or leave it.",
    )
