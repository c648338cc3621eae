"""The folder of a cloned version: its marker, its parts, and removing it safely."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import is_folder, printable_path, read_regular, to_json, write_atomic
from comfywatchman.base.git import list_tracked_files
from comfywatchman.base.json_values import decode_json

MARKER_NAME: Final = ".comfywatchman-version.json"
_USER_FOLDERS: Final = ("input", "output", "user")
_GIT_SECONDS: Final = 120.0
_MAX_MARKER_BYTES: Final = 1 << 16
_MIN_DEPTH: Final = 3
"""A folder directly below the root is never removed: `/data` may be a whole disk."""


class VersionMarker(msgspec.Struct, frozen=True, kw_only=True):
    """`.comfywatchman-version.json`: the folder was made by us, from this lock.

    Attributes:
        tag: The name of the version.
        content_sha256: The content hash of its lock.
        has_environment: Whether all packages are installed.
        is_complete: Whether everything in it was verified.
        schema_version: 1.
    """

    tag: str
    content_sha256: str
    has_environment: bool = False
    is_complete: bool = False
    schema_version: int = 1


@dataclass(frozen=True, slots=True)
class ClonePlace:
    """The parts of a cloned version.

    Attributes:
        root: Its folder.
    """

    root: Path

    @property
    def marker(self) -> Path:
        """The marker."""
        return self.root / MARKER_NAME

    @property
    def lock(self) -> Path:
        """A copy of the lock that it was made from."""
        return self.root / "version.lock.json"

    @property
    def comfyui(self) -> Path:
        """ComfyUI."""
        return self.root / "ComfyUI"

    @property
    def unfinished_code(self) -> Path:
        """A repository while it is being cloned."""
        return self.root / "cloning"

    @property
    def custom_nodes(self) -> Path:
        """The custom nodes."""
        return self.comfyui / "custom_nodes"

    @property
    def models(self) -> Path:
        """The models."""
        return self.comfyui / "models"

    @property
    def environment(self) -> Path:
        """The Python environment, where ComfyUI's own `.gitignore` leaves it out."""
        return self.comfyui / ".venv"

    @property
    def python(self) -> Path:
        """The interpreter."""
        return self.environment / "bin" / "python"


def read_marker(folder: Path) -> VersionMarker | None:
    """Return the marker of a cloned version; None when it has none, or a damaged one."""
    try:
        return decode_json(read_regular(folder / MARKER_NAME, max_bytes=_MAX_MARKER_BYTES), VersionMarker)
    except (Failure, msgspec.MsgspecError):
        return None


def write_marker(place: ClonePlace, marker: VersionMarker) -> None:
    """Write the marker.

    Raises:
        Failure: `state-unwritable`.
    """
    write_atomic(place.marker, to_json(marker))


def check_removable(folder: Path) -> VersionMarker:
    """Return the marker of a folder that may be removed.

    Raises:
        Failure: `version-not-ours`: it is a link, has no marker, or is a folder that must never be removed.
    """
    shown = printable_path(folder)
    if folder.is_symlink():
        raise Failure("version-not-ours", f"{shown} is a link.", hint="Name the folder that it leads to.")
    if not is_folder(folder):
        raise Failure("version-not-ours", f"{shown} is not a folder.", hint="Name the folder of a cloned version.")
    resolved = folder.resolve()
    forbidden = {Path.home().resolve(), Path.cwd().resolve(), *Path.cwd().resolve().parents}
    if len(resolved.parts) < _MIN_DEPTH or resolved in forbidden or os.path.ismount(resolved):
        raise Failure(
            "version-not-ours",
            f"{shown} is a home, a disk, or a folder around the current one, and is not removed.",
            hint="Name the folder of the version itself.",
        )
    marker = read_marker(resolved)
    if marker is None:
        raise Failure(
            "version-not-ours",
            f"{shown} was not made by `version clone`: it has no {MARKER_NAME}.",
            hint="Remove it by hand if you are sure.",
        )
    return marker


def remove_version(folder: Path) -> None:
    """Remove a cloned version; files that are linked elsewhere keep their other names.

    The marker goes last, so that a removal that was interrupted can be repeated.

    Raises:
        Failure: `version-not-ours`, or `state-unwritable`.
    """
    check_removable(folder)
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.name != MARKER_NAME)
        for name in names:
            path = folder / name
            if path.is_symlink() or not path.is_dir():
                path.unlink()
            else:
                # rmtree does not follow links, and refuses to start at one.
                shutil.rmtree(path)
        (folder / MARKER_NAME).unlink()
        folder.rmdir()
    except OSError as error:
        raise Failure(
            "state-unwritable",
            f"{printable_path(folder)} could not be removed wholly: {error.strerror}.",
            hint="Correct the permissions, then run the command again: it goes on where it stopped.",
        ) from error


class UserFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Files that a user, not the version, put into a clone.

    Attributes:
        folder: Their folder in ComfyUI: `output`, `input` or `user` (workflows and settings).
        count: Their number.
        size: Their size in bytes.
    """

    folder: str
    count: int
    size: int


def find_user_files(root: Path) -> tuple[UserFiles, ...]:
    """Return what would be lost with a clone and no lock can restore; folders without such files are left out."""
    comfyui = ClonePlace(root).comfyui
    found = []
    for folder in _USER_FOLDERS:
        tracked = list_tracked_files(comfyui, folder, timeout_seconds=_GIT_SECONDS) or frozenset()
        count = size = 0
        for directory, _folders, names in os.walk(comfyui / folder):
            for name in names:
                path = Path(directory, name)
                # ComfyUI brings an example picture and empty files that keep folders.
                if os.path.relpath(path, comfyui) in tracked:
                    continue
                count += 1
                with contextlib.suppress(OSError):
                    size += path.lstat().st_size
        if count:
            found.append(UserFiles(folder=folder, count=count, size=size))
    return tuple(found)


def measure_folder(folder: Path) -> int:
    """Return the bytes that removing a folder frees: files with another name elsewhere do not count."""
    total = 0
    for directory, _folders, names in os.walk(folder):
        for name in names:
            try:
                status = os.lstat(os.path.join(directory, name))
            except OSError:
                continue
            if status.st_nlink == 1:
                total += status.st_blocks * 512
    return total
