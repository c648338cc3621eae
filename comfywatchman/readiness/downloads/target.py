"""Decides the file name and folder of a model, and opens that folder without following links."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path, unwritable_failure
from comfywatchman.base.filesystem import open_below
from comfywatchman.comfyui.install.folders import DIFFUSERS, ModelFolders
from comfywatchman.sources.file_names import MODEL_EXTENSIONS, extension, reason_invalid_model_name


@dataclass(frozen=True, slots=True)
class Target:
    """The path of a model, in parts.

    Attributes:
        directory: Configured directory of the model folder; it may be a link.
        below: Subfolders from the name in the workflow; never links.
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
    """Return the target of a model that a workflow names. Pure.

    Args:
        filename: As the workflow writes it, with either kind of slash.
        folder: Model folder of the loader.
        folders: Model folders of this ComfyUI.

    Raises:
        Failure: `download-name-unsafe` if the name cannot, or must not, be a file below that folder.
    """
    known = folders.get(folder) if folder else None
    if known is None or not known.directories:
        raise _unsafe_name(filename, "its model folder is unknown")
    reason = reason_to_refuse_name(filename, known.extensions)
    if known.name == DIFFUSERS:
        reason = "models in this folder are folders of several files"
    if reason is not None:
        raise _unsafe_name(filename, reason)
    *below, name = filename.replace("\\", "/").split("/")
    return Target(folders.target_directory(known.name), tuple(below), name)


def reason_to_refuse_name(filename: str, extensions: frozenset[str]) -> str | None:
    """Return why a name cannot be a file below a model folder; None if it can.

    Args:
        filename: As the workflow writes it.
        extensions: File extensions of the folder; empty if unknown.
    """
    reason = reason_invalid_model_name(filename)
    if reason is not None:
        return reason
    segments = filename.replace("\\", "/").split("/")
    if any(segment.startswith((".", "~")) for segment in segments):
        return "it contains a name that begins with a dot or ~"
    allowed = (extensions - {""}) or MODEL_EXTENSIONS
    suffix = extension(segments[-1])
    if suffix not in allowed:
        return f"this folder holds no {suffix} files"
    return None


@contextmanager
def open_folder(target: Target) -> Iterator[int]:
    """Open the folder of a target, create missing folders, and yield its descriptor.

    The configured directory may be a link. Below it no link is followed, so that nothing is written elsewhere, even if
    a folder is replaced by a link meanwhile.

    Raises:
        Failure: `download-name-unsafe` for a link below the directory, `state-unwritable`.
    """
    # Only errors of opening become a failure of the folder, not those of the caller's block.
    stack = ExitStack()
    try:
        target.directory.mkdir(parents=True, exist_ok=True)
        descriptor = stack.enter_context(open_below(target.directory, target.below, create=True))
    except OSError as error:
        path = Path(error.filename)
        # What O_NOFOLLOW and O_DIRECTORY report for a link or a file.
        if error.errno in {errno.ELOOP, errno.ENOTDIR}:
            raise Failure(
                "download-name-unsafe",
                f"{printable_path(path)} is a link or not a folder; links inside a model folder are not followed.",
                hint="Name the linked folder in extra_model_paths.yaml, or make it a real folder.",
            ) from error
        raise unwritable_failure(path, error, verb="opened") from error
    with stack:
        yield descriptor


def _unsafe_name(filename: str, reason: str) -> Failure:
    return Failure(
        "download-name-unsafe",
        f"{printable_path(filename[:300])} cannot be downloaded: {reason}.",
        hint="Choose the model again in the workflow, or download it by hand.",
    )
