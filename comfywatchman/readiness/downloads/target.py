"""Where a model belongs: which name in which folder, and a way there that leaves no folder by a link."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path, unwritable_failure
from comfywatchman.comfyui.install.folders import DIFFUSERS, ModelFolders
from comfywatchman.sources.file_names import MODEL_EXTENSIONS, extension, reason_invalid_model_name


@dataclass(frozen=True, slots=True)
class Target:
    """The place of a model.

    Attributes:
        directory: The one that ComfyUI reads for the folder, as configured; it may be a link.
        below: Folders below it, from the workflow's name; never links.
        name: File name.
    """

    directory: Path
    below: tuple[str, ...]
    name: str

    @property
    def path(self) -> Path:
        """The whole path."""
        return self.directory.joinpath(*self.below, self.name)


def decide_target(filename: str, folder: str | None, folders: ModelFolders) -> Target:
    """Return the place of a model that a workflow names. Pure.

    Args:
        filename: As the workflow writes it, with either kind of slash.
        folder: What its loader reads.
        folders: Those of this ComfyUI.

    Raises:
        Failure: `download-name-unsafe` when the name could not, or should not, be a file below that folder.
    """
    known = folders.get(folder) if folder else None
    if known is None or not known.directories:
        raise _unsafe_name(filename, "its model folder is not known")
    reason = reason_to_refuse_name(filename, known.extensions)
    if known.name == DIFFUSERS:
        reason = "models of this folder are folders of several files"
    if reason is not None:
        raise _unsafe_name(filename, reason)
    *below, name = filename.replace("\\", "/").split("/")
    return Target(folders.target_directory(known.name), tuple(below), name)


def reason_to_refuse_name(filename: str, extensions: frozenset[str]) -> str | None:
    """Say why a name cannot be a file below a model folder; None when it can.

    Args:
        filename: As the workflow writes it.
        extensions: What the folder holds; empty when that is not known.
    """
    reason = reason_invalid_model_name(filename)
    if reason is not None:
        return reason
    segments = filename.replace("\\", "/").split("/")
    if any(segment.startswith((".", "~")) for segment in segments):
        return "it would be hidden"
    allowed = (extensions - {""}) or MODEL_EXTENSIONS
    end = extension(segments[-1])
    return None if end in allowed else f"{end} is no kind of file that this folder holds"


@contextmanager
def open_folder(target: Target) -> Iterator[int]:
    """Open the folder of a target, making what is missing of it, and give its descriptor.

    The configured directory may be a link; below it every step is taken without following one, so that nothing is
    written elsewhere, also when somebody swaps a folder for a link meanwhile.

    Raises:
        Failure: `download-name-unsafe` for a link on the way, `state-unwritable`.
    """
    at = target.directory
    try:
        at.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(at, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for segment in target.below:
            at /= segment
            descriptor = _open_subfolder(descriptor, segment)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENOTDIR}:
            raise Failure(
                "download-name-unsafe",
                f"{printable_path(at)} is a link or no folder; nothing is written through links inside a model folder.",
                hint="Name the folder it leads to in extra_model_paths.yaml, or make it a real folder.",
            ) from error
        raise unwritable_failure(at, error, verb="opened") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open_subfolder(descriptor: int, segment: str) -> int:
    try:
        with suppress(FileExistsError):
            os.mkdir(segment, dir_fd=descriptor)
        return os.open(segment, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=descriptor)
    finally:
        os.close(descriptor)


def _unsafe_name(filename: str, reason: str) -> Failure:
    return Failure(
        "download-name-unsafe",
        f"{printable_path(filename[:300])} cannot be downloaded: {reason}.",
        hint="Choose the model anew in the workflow, or fetch it by hand.",
    )
