"""Find a local model by SHA-256 and link to it instead of downloading the same bytes again."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Final, Literal

from comfywatchman.base.filesystem import rename_without_replacing
from comfywatchman.comfyui.install.folders import ModelFolders
from comfywatchman.readiness.database import open_database
from comfywatchman.readiness.models.index import FileHashes, ModelIndex
from comfywatchman.readiness.models.inventory import FileKey, ModelFile, build_file_key, build_inventory
from comfywatchman.readiness.models.scan import scan_models
from comfywatchman.sources.download.fetch import FileCheck
from comfywatchman.sources.download.partial_file import build_partial_name
from comfywatchman.sources.download.target import target_taken_failure

LinkMethod = Literal["hard", "reflink", "symlink", "off"]
"""How equal files share their bytes: one file with two names, a copy-on-write clone, or a symbolic link."""

_FICLONE: Final = 0x40049409
"""The ioctl that clones a file, from linux/fs.h."""


def index_by_hash(files: Iterable[ModelFile], hashes: Mapping[FileKey, FileHashes]) -> dict[str, ModelFile]:
    """Return one healthy file for each SHA-256."""
    by_hash: dict[str, ModelFile] = {}
    for file in files:
        file_hashes = hashes.get(file.key)
        if file_hashes is not None and file.problem is None:
            by_hash.setdefault(file_hashes.sha256, file)
    return by_hash


def find_local_models(database: Path, folders: ModelFolders) -> dict[str, ModelFile]:
    """Return one healthy model file of this host for each known SHA-256.

    Args:
        database: The index of earlier cycles.
        folders: The model folders of this ComfyUI.
    """
    with closing(open_database(database)) as opened:
        index = ModelIndex(opened)
        inventory = build_inventory(scan_models(folders), index)
        return index_by_hash(inventory.all_models(), index.hashes())


def link_file(source: ModelFile, folder: int, name: str, *, method: LinkMethod, check: FileCheck) -> bool:
    """Link a file of this host under a second name, whole or not at all.

    Args:
        source: The file; its content must not have changed since it was hashed.
        folder: Descriptor of the folder of the new name.
        name: The new name; an existing file is never replaced.
        method: Kind of link.
        check: Checks the file as it would be under its new name.

    Returns:
        False if the file has changed, or this filesystem does not support the method; then it must be downloaded.

    Raises:
        Failure: `download-target-taken`, or the failure of the check.
    """
    if method == "off":
        return False
    try:
        descriptor = os.open(source.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if build_file_key(os.fstat(descriptor)) != source.key:
            return False
        failure = check(descriptor, name, source.size)
        if failure is not None:
            raise failure
        return _link(descriptor, source, folder, name, method)
    finally:
        os.close(descriptor)


def _link(descriptor: int, source: ModelFile, folder: int, name: str, method: LinkMethod) -> bool:
    # Made under the name of an unfinished download first, which ComfyUI does not list.
    unfinished = build_partial_name(name, url=f"link:{method}", sha256=None)
    with suppress(FileNotFoundError):
        os.unlink(unfinished, dir_fd=folder)
    try:
        if method == "hard":
            # By descriptor, so that the checked file gets the name even if its path was swapped meanwhile.
            os.link(f"/proc/self/fd/{descriptor}", unfinished, dst_dir_fd=folder, follow_symlinks=True)
        elif method == "symlink":
            os.symlink(os.path.realpath(source.path), unfinished, dir_fd=folder)
        else:
            _clone(descriptor, folder, unfinished)
        rename_without_replacing(unfinished, name, folder=folder)
        os.fsync(folder)
    except FileExistsError as error:
        raise target_taken_failure(name) from error
    except OSError:
        return False
    finally:
        with suppress(OSError):
            os.unlink(unfinished, dir_fd=folder)
    return True


def _clone(descriptor: int, folder: int, unfinished: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    copy = os.open(unfinished, flags, 0o666, dir_fd=folder)
    try:
        fcntl.ioctl(copy, _FICLONE, descriptor)
        os.fsync(copy)
    finally:
        os.close(copy)
