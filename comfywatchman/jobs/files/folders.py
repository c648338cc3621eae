"""The folders of job files: creating them, listing job files, and moving a file without replacing another."""

from __future__ import annotations

import errno
import filecmp
import os
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import fsync_file, fsync_folder, make_folder, printable_path, unwritable_failure
from comfywatchman.base.filesystem import rename_without_replacing
from comfywatchman.jobs.files.names import SUFFIX

_MAX_DEPTH: Final = 16
"""Deepest folder below processing/ that is searched."""


def ensure_directories(paths: Mapping[str, str | os.PathLike[str]]) -> None:
    """Create the folders of a mapping that are missing.

    Args:
        paths: Folders by any name, as `paths` of global_config.yaml holds them. The entry `database` is a file, or the
            URL of a database: for a file, its folder is created.

    Raises:
        Failure: `state-unwritable`.
    """
    for name, path in paths.items():
        text = os.fspath(path)
        if name == "database":
            if "://" in text:
                continue
            text = os.path.dirname(text) or "."
        _make_folder(Path(text))


def ensure_media_folders(roots: Iterable[Path], media: Iterable[str]) -> None:
    """Create the subfolder of each kind of media below each root.

    Raises:
        Failure: `state-unwritable`.
    """
    names = sorted(set(media))
    for root in roots:
        for name in names:
            _make_folder(root / name)


def list_yaml_under(root: str | os.PathLike[str], *, media_types: Collection[str] | None = None) -> list[str]:
    """Return the absolute paths of the `.yaml` files below a folder, sorted; none when there is no such folder.

    Hidden files and folders are left out, and links to folders are not followed.

    Args:
        root: The folder.
        media_types: Only these subfolders of it; None for everything.
    """
    base = os.path.abspath(root)
    starts = [base] if media_types is None else [os.path.join(base, name) for name in media_types]
    return sorted(entry.path for start in starts for entry in walk_files(start) if entry.name.endswith(SUFFIX))


def walk_files(folder: str) -> Iterator[os.DirEntry[str]]:
    """Yield everything below a folder that is neither a folder nor hidden; links are yielded, not followed."""
    waiting = [(folder, 0)]
    while waiting:
        current, depth = waiting.pop()
        # A folder may vanish, or be closed to us, while it is walked.
        with suppress(OSError), os.scandir(current) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if not entry.is_dir(follow_symlinks=False):
                    yield entry
                elif depth < _MAX_DEPTH:
                    waiting.append((entry.path, depth + 1))


def safe_move(src: str | os.PathLike[str], dst: str | os.PathLike[str]) -> None:
    """Move a file in one step, creating the folders of its new place; on return the move survives a power cut.

    Nothing is replaced. A move that was interrupted can be repeated: where the new place already holds the same
    bytes, only the old file is deleted.

    Args:
        src: The file.
        dst: Its new path.

    Raises:
        FileNotFoundError: There is no such file.
        Failure: `jobs-target-taken` when something else has the new name; `state-unwritable`.
    """
    source, target = Path(src), Path(dst)
    os.lstat(source)
    _make_folder(target.parent)
    try:
        with _open_folders(source.parent, target.parent) as (source_folder, target_folder):
            try:
                rename_without_replacing(source.name, target.name, folder=source_folder, target_folder=target_folder)
            except FileExistsError:
                _finish_move(source, target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                _copy_across(source, target, target_folder)
            # First the new name: a power cut in between leaves both names, never none.
            os.fsync(target_folder)
            os.fsync(source_folder)
    except OSError as error:
        raise unwritable_failure(target, error, verb="moved there") from error


def _finish_move(source: Path, target: Path) -> None:
    if not _is_plain_file(target) or not filecmp.cmp(source, target, shallow=False):
        raise Failure(
            "jobs-target-taken",
            f"{printable_path(source)} is not moved: {printable_path(target)} is something else.",
            hint="Move one of the two away.",
        )
    os.unlink(source)


def _copy_across(source: Path, target: Path, target_folder: int) -> None:
    """Move a file to another filesystem: copy it beside its new place, flush it, rename it, delete the old one."""
    descriptor, name = tempfile.mkstemp(prefix=".moving.", suffix=".tmp", dir=target.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        shutil.copy2(source, temporary, follow_symlinks=False)
        fsync_file(temporary)
        try:
            rename_without_replacing(temporary.name, target.name, folder=target_folder)
        except FileExistsError:
            _finish_move(source, target)
            return
    finally:
        temporary.unlink(missing_ok=True)
    fsync_folder(target.parent)
    os.unlink(source)


def _is_plain_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


@contextmanager
def _open_folders(*folders: Path) -> Iterator[tuple[int, ...]]:
    with ExitStack() as stack:
        descriptors = []
        for folder in folders:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
            descriptors.append(descriptor)
        yield tuple(descriptors)


def _make_folder(folder: Path) -> None:
    try:
        make_folder(folder)
    except OSError as error:
        raise unwritable_failure(folder, error, verb="created") from error
    if not folder.is_dir():
        raise Failure("state-unwritable", f"{printable_path(folder)} is not a folder.", hint="Move it away.")
