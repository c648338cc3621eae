"""State of one download: its partial file, and whether the bytes in it can be resumed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.sources.download.body import stop_failure
from comfywatchman.sources.download.limits import DownloadLimits
from comfywatchman.sources.download.partial_file import PartialFile, ResumeNote
from comfywatchman.sources.download.target import DownloadRequest

_MAX_RESTARTS: Final = 3


@dataclass(slots=True)
class DownloadState:
    """Progress of one download.

    Attributes:
        request: The requested file; its hash is filled in when the hub announces one.
        part: The partial file.
        note: Origin of the bytes in the partial file.
        boot_id: The current boot.
        is_complete: Whether the server has sent everything.
        restarts: How often the download started again from zero.
        responses: How many responses the bytes come from.
        received_bytes: Bytes received over the network.
        unmarked_ends: How often a response ended before the file was whole, without any mark of its end.
        connections: How many connections may be used at once.
    """

    request: DownloadRequest
    part: PartialFile
    note: ResumeNote
    boot_id: str
    is_complete: bool = False
    restarts: int = 0
    responses: int = 0
    received_bytes: int = 0
    unmarked_ends: int = 0
    connections: int = 1

    def resume(self, limits: DownloadLimits) -> int:
        """Hash the partial file of an earlier run if it can be continued, and return its size; else clear it.

        Raises:
            Failure: `download-stopped`.
        """
        if self.part.size == 0:
            return 0
        note = self.part.read_note()
        if not self._can_resume(note):
            self.part.clear()
            return 0
        self.note = note
        self.responses = 1
        if not self.part.hash_existing(lambda: not limits.is_stopped()):
            raise stop_failure()
        return self.part.size

    def _can_resume(self, note: ResumeNote) -> bool:
        request = self.request
        if request.size is not None and self.part.size > request.size:
            return False
        if request.sha256 is not None:
            return True
        # Without a hash, only an entity tag ties old and new bytes together, and only bytes written in this boot are
        # surely on the disk.
        return note.validator is not None and note.boot_id == self.boot_id

    def is_whole(self) -> bool:
        """Return whether nothing is left to receive."""
        return self.is_complete or (self.request.size is not None and self.part.size == self.request.size)

    def has_expected_content(self, sha256: str) -> bool:
        """Return whether the partial file has the requested size and hash, and its size on disk agrees."""
        size_on_disk = os.fstat(self.part.descriptor).st_size
        if size_on_disk != self.part.size:
            return False
        if self.request.size and self.request.size != size_on_disk:
            return False
        return self.request.sha256 is None or self.request.sha256 == sha256

    def restart(self) -> None:
        """Clear the partial file and start again from zero.

        Raises:
            Failure: `download-interrupted` when that happened too often.
        """
        self.restarts += 1
        self.part.clear()
        if self.restarts > _MAX_RESTARTS:
            raise interruption_failure(f"{self.request.name} had to be restarted {_MAX_RESTARTS} times.")
        self.note = ResumeNote(boot_id=self.boot_id)
        self.is_complete = False
        self.responses = 0


def interruption_failure(message: str) -> Failure:
    """Return the failure for a download that stays incomplete."""
    return Failure(
        "download-interrupted", message, hint="Run the same command again: the partial file is kept and resumed."
    )
