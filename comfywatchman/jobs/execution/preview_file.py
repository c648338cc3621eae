"""Preview images of running jobs: the worker writes the newest one of a job to a file, and the web page shows it."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import write_atomic
from comfywatchman.comfyui.server.events import PreviewImage

_SUFFIXES: Final = {"image/jpeg": ".jpg", "image/png": ".png"}
_PAUSE_SECONDS: Final = 1.0
"""ComfyUI sends a preview with each step; a page asks every two seconds."""
_MAX_BYTES: Final = 8 << 20


@dataclass(frozen=True, slots=True)
class PreviewFile:
    """The newest preview of a running job: its file, its media type, and a number that changes with each preview."""

    path: Path
    media_type: str
    version: int


class PreviewWriter:
    """Writes the previews of one worker's jobs. One that cannot be written is left out.

    Args:
        folder: The folder of previews; None to write none.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._written: PreviewImage | None = None
        self._next_at = 0.0

    def write(self, job_id: int, image: PreviewImage | None) -> None:
        """Write a preview that is new, at most once per second."""
        if self._folder is None or image is None or image is self._written or time.monotonic() < self._next_at:
            return
        suffix = _SUFFIXES.get(image.media_type)
        if suffix is None or len(image.content) > _MAX_BYTES:
            return
        self._next_at = time.monotonic() + _PAUSE_SECONDS
        self._written = image
        with contextlib.suppress(Failure):
            write_atomic(self._folder / f"{job_id}{suffix}", image.content, is_lasting=False)

    def delete(self, job_id: int) -> None:
        """Delete the preview of a job: at its end, and at its start that of an earlier run."""
        self._written, self._next_at = None, 0.0
        if self._folder is None:
            return
        for suffix in _SUFFIXES.values():
            with contextlib.suppress(OSError):
                (self._folder / f"{job_id}{suffix}").unlink(missing_ok=True)

    def delete_all(self) -> None:
        """Delete every preview: those that a killed worker left belong to runs that are over."""
        if self._folder is None:
            return
        for suffix in _SUFFIXES.values():
            for path in self._folder.glob(f"*{suffix}"):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)


def find_preview(folder: Path | None, job_id: int) -> PreviewFile | None:
    """Return the newest preview of a job; None when there is none on this host."""
    if folder is None:
        return None
    previews = []
    for media_type, suffix in _SUFFIXES.items():
        path = folder / f"{job_id}{suffix}"
        with contextlib.suppress(OSError):
            previews.append(PreviewFile(path, media_type, os.stat(path).st_mtime_ns))
    return max(previews, key=lambda preview: preview.version, default=None)
