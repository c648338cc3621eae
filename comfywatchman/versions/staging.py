"""The folder `<target>.partial` in which a clone is built: taken by one process, and never left through a link."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import delete_temporary_files, make_folder, printable_path, unwritable_failure
from comfywatchman.versions.lockfile import VersionLock, write_lock
from comfywatchman.versions.place import ClonePlace, VersionMarker, read_marker, write_marker


@contextmanager
def open_staging(lock: VersionLock, target: Path) -> Iterator[ClonePlace]:
    """Yield the folder in which a clone is built, new or left by an interrupted run, locked for this process.

    Raises:
        Failure: `version-target-taken`, `version-clone-running` or `state-unwritable`.
    """
    if os.path.lexists(target):
        raise Failure(
            "version-target-taken",
            f"{printable_path(target)} exists already.",
            hint="Name a folder that does not exist.",
        )
    place = ClonePlace(target.with_name(f"{target.name}.partial"))
    with hold_folder(place.root):
        _claim(place, lock)
        write_lock(place.lock, lock)
        yield place


def mark_environment(lock: VersionLock, place: ClonePlace) -> None:
    """Note in the marker that all packages are installed; an environment without the note is built again."""
    write_marker(place, VersionMarker(tag=lock.tag, content_sha256=lock.content_sha256, has_environment=True))


def require_inside(path: Path, place: ClonePlace) -> None:
    """Check that no folder on the way to a path is a link.

    A repository may hold links: `custom_nodes` or `models` may lead to any folder of this machine, where cloning would
    replace files.

    Raises:
        Failure: `version-not-clonable`.
    """
    folder = place.root
    for part in path.relative_to(place.root).parts[:-1]:
        folder /= part
        if folder.is_symlink():
            raise Failure(
                "version-not-clonable",
                f"{folder.relative_to(place.root)} is a link in the cloned repository, and may lead outside the clone.",
                hint="Do not use this version, or make it again from a repository without that link.",
            )


def remove_tree(path: Path) -> None:
    """Remove a folder, a file or a link.

    Raises:
        Failure: `state-unwritable`.
    """
    try:
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)
        else:
            shutil.rmtree(path)
    except OSError as error:
        raise unwritable_failure(path, error, verb="removed") from error


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Create a folder if needed and hold a lock on it, which the kernel releases however this process ends.

    Raises:
        Failure: `version-clone-running` or `state-unwritable`.
    """
    try:
        make_folder(folder)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise unwritable_failure(folder, error, verb="created") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise Failure(
            "version-clone-running",
            f"Another process builds in {printable_path(folder)}.",
            hint="Wait until it has ended, or name another folder.",
        ) from error
    finally:
        os.close(descriptor)


def _claim(place: ClonePlace, lock: VersionLock) -> None:
    """Check that the folder belongs to this version, and mark an empty one."""
    # A run that was killed before its marker was whole leaves only a temporary file.
    delete_temporary_files(place.root)
    marker = read_marker(place.root)
    if marker is None and not os.listdir(place.root):
        write_marker(place, VersionMarker(tag=lock.tag, content_sha256=lock.content_sha256))
    elif marker is None:
        raise Failure(
            "version-target-taken",
            f"{printable_path(place.root)} exists, and was not made by `version clone`.",
            hint="Move it away, or name another folder.",
        )
    elif marker.content_sha256 != lock.content_sha256:
        raise Failure(
            "version-target-taken",
            f"{printable_path(place.root)} was left by a clone of another version, {marker.tag}.",
            hint=f"Remove it: comfywatchman version remove {printable_path(place.root)}",
        )
