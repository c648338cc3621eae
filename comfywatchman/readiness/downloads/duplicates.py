"""Models that this host holds more than once. Pure."""

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
        shares: Whether its bytes are those of an earlier copy already (hard link or symbolic link).
    """

    path: str
    folder: str
    shares: bool


class DuplicateGroup(msgspec.Struct, frozen=True):
    """Files of the same bytes.

    Attributes:
        sha256: Their hash.
        size: Of each, in bytes.
        copies: In path order.
        linkable_bytes: What hard links would free: all but one copy on each disk.
        other_disk_bytes: What symbolic links would free beyond that, over disks.
    """

    sha256: str
    size: int
    copies: tuple[DuplicateCopy, ...]
    linkable_bytes: int
    other_disk_bytes: int


def find_duplicates(files: Iterable[ModelFile], hashes: Mapping[FileKey, FileHashes]) -> tuple[DuplicateGroup, ...]:
    """Return the groups of equal models that take more room than one copy, what frees most first.

    Args:
        files: Models of an inventory; a file that several folders list counts once.
        hashes: What is known of their bytes; a file without a hash is in no group (see `unhashed_alike`).
    """
    groups: dict[tuple[str, int], dict[str, ModelFile]] = {}
    for file in files:
        known = hashes.get(file.key)
        if known is not None and file.size:
            groups.setdefault((known.sha256, file.size), {})[file.path] = file
    found = [_build_group(sha256, size, sorted(one.values(), key=_path_key)) for (sha256, size), one in groups.items()]
    wasteful = [group for group in found if group.linkable_bytes or group.other_disk_bytes]
    return tuple(sorted(wasteful, key=lambda group: (-group.linkable_bytes - group.other_disk_bytes, group.sha256)))


def find_unhashed_lookalikes(files: Iterable[ModelFile], hashes: Mapping[FileKey, FileHashes]) -> tuple[ModelFile, ...]:
    """Return healthy files without a hash that have the size of another file: what must be hashed to be sure."""
    by_size: dict[int, dict[tuple[int, int], ModelFile]] = {}
    for file in files:
        if file.problem is None and file.size:
            by_size.setdefault(file.size, {})[file.device, file.inode] = file
    alike = [group for group in by_size.values() if len(group) > 1]
    return tuple(file for group in alike for file in group.values() if file.key not in hashes)


def _build_group(sha256: str, size: int, files: list[ModelFile]) -> DuplicateGroup:
    seen: set[tuple[int, int]] = set()
    copies = []
    for file in files:
        place = (file.device, file.inode)
        copies.append(DuplicateCopy(file.path, file.folder, place in seen))
        seen.add(place)
    disks = {device for device, _inode in seen}
    return DuplicateGroup(sha256, size, tuple(copies), (len(seen) - len(disks)) * size, (len(disks) - 1) * size)


def _path_key(file: ModelFile) -> str:
    return file.path
