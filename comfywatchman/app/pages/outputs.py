"""The outputs of finished jobs: which files the page shows, and how."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePath
from typing import Final

from comfywatchman.app.pages.page_host import PageHost
from comfywatchman.base.errors import Failure
from comfywatchman.jobs.execution.preview_file import PreviewFile, find_preview
from comfywatchman.jobs.records import Job, JobStatus


class OutputKind(StrEnum):
    """How the page shows a file."""

    PICTURE = "picture"
    VIDEO = "video"
    AUDIO = "audio"
    MODEL_3D = "3d"
    OTHER = "other"


_TYPES: Final = {
    ".png": (OutputKind.PICTURE, "image/png"),
    ".jpg": (OutputKind.PICTURE, "image/jpeg"),
    ".jpeg": (OutputKind.PICTURE, "image/jpeg"),
    ".webp": (OutputKind.PICTURE, "image/webp"),
    ".gif": (OutputKind.PICTURE, "image/gif"),
    ".avif": (OutputKind.PICTURE, "image/avif"),
    ".mp4": (OutputKind.VIDEO, "video/mp4"),
    ".webm": (OutputKind.VIDEO, "video/webm"),
    ".mp3": (OutputKind.AUDIO, "audio/mpeg"),
    ".flac": (OutputKind.AUDIO, "audio/flac"),
    ".wav": (OutputKind.AUDIO, "audio/wav"),
    ".opus": (OutputKind.AUDIO, "audio/ogg"),
    ".ogg": (OutputKind.AUDIO, "audio/ogg"),
    ".glb": (OutputKind.MODEL_3D, "model/gltf-binary"),
}
"""Files that a browser shows without running anything in them. All others (SVG and HTML too) are downloaded."""

OTHER_TYPE: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class OutputView:
    """One output of a job: its name, its size, and how the page shows it."""

    name: str
    size_bytes: int
    kind: OutputKind


@dataclass(frozen=True, slots=True)
class ServedFile:
    """A file to send: where it is, its media type, and whether a browser may show it."""

    path: Path
    media_type: str
    is_shown: bool


def list_outputs(job: Job) -> tuple[OutputView, ...]:
    """Return the outputs of a job as its last run reported them."""
    return tuple(
        OutputView(str(file["name"]), int(file.get("size_bytes") or 0), find_type(str(file["name"]))[0])
        for file in job.metadata.get("files") or ()
    )


def find_type(name: str) -> tuple[OutputKind, str]:
    """Return how a file is shown, and its media type, by its suffix."""
    return _TYPES.get(PurePath(name).suffix.lower(), (OutputKind.OTHER, OTHER_TYPE))


def find_output(host: PageHost, config_name: str, name: str) -> ServedFile:
    """Return an output to send. Only files that the job's last run reported, below the finished folder, are served.

    Raises:
        Failure: `jobs-job-unknown`, or `file-unreadable` for any other file.
    """
    job = host.store.get(config_name)
    folder = job.metadata.get("folder")
    if name not in {output.name for output in list_outputs(job)} or not isinstance(folder, str):
        raise Failure("file-unreadable", f"{config_name} has no output of that name.")
    path = (Path(folder) / name).resolve()
    # Resolved: neither a name with `..` nor a link leads out of the finished folder.
    if not path.is_relative_to(host.agent.settings.finished.resolve()) or not path.is_file():
        raise Failure("file-unreadable", "The output is not on this host, or it was moved or deleted.")
    kind, media_type = find_type(name)
    return ServedFile(path, media_type, kind is not OutputKind.OTHER)


def find_job_preview(host: PageHost, config_name: str) -> ServedFile:
    """Return the newest preview of a running job, to send.

    Raises:
        Failure: `jobs-job-unknown`, or `file-unreadable` when there is none.
    """
    job = host.store.get(config_name)
    preview = find_running_preview(host, job)
    if preview is None:
        raise Failure("file-unreadable", f"{config_name} has no preview on this host.")
    return ServedFile(preview.path, preview.media_type, is_shown=True)


def find_running_preview(host: PageHost, job: Job) -> PreviewFile | None:
    """Return the newest preview of a job that runs on this host; None for any other job."""
    # While another host runs it, a file here is of an earlier run, whose worker was killed.
    if job.status is not JobStatus.PROCESSING or job.host != host.agent.host:
        return None
    return find_preview(host.agent.settings.previews, job.id)
