"""The cache of the checks (`state/checks.json`): an unchanged environment is not read again."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.state.ranges import check_times
from comfywatchman.base.state.state_file import read_state, write_state


class VerifiedPackage(msgspec.Struct, frozen=True, omit_defaults=True):
    """When the files of a package were last verified (UTC), and which of them differed from its RECORD."""

    at: str
    modified: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the times.

        Raises:
            ValueError: One is out of range.
        """
        check_times(self.at)


class StartupFiles(msgspec.Struct, frozen=True):
    """Unexpected and missing files at the top of `site-packages`.

    Attributes:
        stamp: The stamp of the folders that this was read from (`stamp_files`).
        strangers: Files that run at every start of Python and belong to no package.
        gone: Folders and modules that packages installed and that are missing.
    """

    stamp: str
    strangers: tuple[str, ...]
    gone: tuple[str, ...]


class NodeCodeState(msgspec.Struct, frozen=True):
    """Whether the code of a node differs from its record.

    Attributes:
        stamp: The fingerprint of the files that this was read from.
        day: The day of the last full comparison (UTC).
        is_dirty: Whether the code differs.
    """

    stamp: str
    day: str
    is_dirty: bool


class CheckCacheFile(msgspec.Struct, frozen=True, kw_only=True):
    """`state/checks.json`.

    Attributes:
        generation: The environment that `packages` belongs to.
        packages: The last verification of each package in it.
        startup: Unexpected and missing files at the top of its `site-packages`.
        nodes: The code state of each registered node.
        sizes: Bytes of each environment, by its folder.
        transactions: The stamp of each transaction's file, its node and its status.
        snapshots: Stamps of intact snapshots.
        fresh: Whether the lock matches pyproject.toml, by the hashes of both.
    """

    schema_version: int = 1
    generation: str = ""
    packages: dict[str, VerifiedPackage] = {}
    startup: StartupFiles | None = None
    nodes: dict[str, NodeCodeState] = {}
    sizes: dict[str, int] = {}
    transactions: dict[str, tuple[str, str, str]] = {}
    snapshots: dict[str, str] = {}
    fresh: dict[str, bool] = {}


@dataclass
class CheckCache:
    """The cache during a run of the checks.

    Attributes:
        path: Its file.
        stored: The facts that earlier runs stored.
        updates: New values by field of `CheckCacheFile`. A check stores everything it still needs, so that facts about
            deleted nodes, packages and snapshots are dropped.
    """

    path: Path
    stored: CheckCacheFile
    updates: dict[str, object] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> CheckCache:
        """Read the cache; a damaged file counts as an empty one."""
        stored = read_state(path, CheckCacheFile, only_look=True)
        return cls(path, stored if isinstance(stored, CheckCacheFile) else CheckCacheFile())

    def save(self) -> None:
        """Write the cache if it changed. A cache that cannot be written only costs time in the next run."""
        with contextlib.suppress(Failure):
            write_state(self.path, msgspec.structs.replace(self.stored, **self.updates))


def stamp_files(paths: Iterable[str | os.PathLike[str]]) -> str:
    """Return a text that changes when any of these files is replaced or written."""
    parts = []
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            parts.append("-")
        else:
            parts.append(f"{status.st_ino}:{status.st_size}:{status.st_mtime_ns}")
    return " ".join(parts)


def list_names(folder: Path) -> list[str]:
    """Return the names in a folder, sorted; none when it cannot be read."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
