"""Finds model files that this host has more than once. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from comfywatchman.readiness.models.index import FileHashes
from comfywatchman.readiness.models.inventory import FileKey, ModelFile


class DuplicateCopy(msgspec.Struct, frozen=True):
    """One of several equal files.

    Attributes:
        path: As ComfyUI lists it.
        folder: Its model folder.
        shares: Whether it is a hard or symbolic link to an earlier copy, so that it takes no space.
    """

    path: str
    folder: str
    shares: bool


class DuplicateGroup(msgspec.Struct, frozen=True):
    """Files with the same content.

    Attributes:
        sha256: Their hash.
        size: Size of each, in bytes.
        copies: In path order.
        linkable_bytes: Bytes that hard links would free: all but one copy on each disk.
        other_disk_bytes: Further bytes that symbolic links between disks would free.
    """

    sha256: str
    size: int
    copies: tuple[DuplicateCopy, ...]
    linkable_bytes: int
    other_disk_bytes: int


def find_duplicates(files: Iterable[ModelFile], hashes: Mapping[FileKey, FileHashes]) -> tuple[DuplicateGroup, ...]:
    """Return the groups of equal models that take more space than one copy, the largest savings first.

    Args:
        files: Models of an inventory; a file that several folders list counts once.
        hashes: Known hashes; a file without a hash is in no group (see `find_unhashed_lookalikes`).
    """
    by_content: dict[tuple[str, int], dict[str, ModelFile]] = {}
    for file in files:
        file_hashes = hashes.get(file.key)
        if file_hashes is not None and file.size:
            by_content.setdefault((file_hashes.sha256, file.size), {})[file.path] = file
    groups = []
    for (sha256, size), by_path in by_content.items():
        group = _build_group(sha256, size, [by_path[path] for path in sorted(by_path)])
        if group.linkable_bytes or group.other_disk_bytes:
            groups.append(group)
    groups.sort(key=lambda group: (-group.linkable_bytes - group.other_disk_bytes, group.sha256))
    return tuple(groups)


def find_unhashed_lookalikes(files: Iterable[ModelFile], hashes: Mapping[FileKey, FileHashes]) -> tuple[ModelFile, ...]:
    """Return the healthy files without a hash that have the size of another file, so that they may be duplicates."""
    by_size: dict[int, dict[tuple[int, int], ModelFile]] = {}
    for file in files:
        if file.problem is None and file.size:
            by_size.setdefault(file.size, {})[file.device, file.inode] = file
    unhashed: list[ModelFile] = []
    for same_size in by_size.values():
        if len(same_size) > 1:
            unhashed.extend(file for file in same_size.values() if file.key not in hashes)
    return tuple(unhashed)


def _build_group(sha256: str, size: int, files: list[ModelFile]) -> DuplicateGroup:
    inodes: set[tuple[int, int]] = set()
    copies = []
    for file in files:
        inode = (file.device, file.inode)
        copies.append(DuplicateCopy(file.path, file.folder, shares=inode in inodes))
        inodes.add(inode)
    disks = {device for device, _inode in inodes}
    return DuplicateGroup(
        sha256,
        size,
        tuple(copies),
        linkable_bytes=(len(inodes) - len(disks)) * size,
        other_disk_bytes=(len(disks) - 1) * size,
    )
