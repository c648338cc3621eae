"""What checks keep from one time to the next, so that an unchanged environment costs next to nothing: a cache."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from comfywatchman.base.clock import Clock
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_state, to_json, write_if_changed


class VerifiedPackage(msgspec.Struct, frozen=True, omit_defaults=True):
    """When the files of a package were last verified (UTC), and which of them were not as they were installed."""

    at: str
    modified: tuple[str, ...] = ()


class StartupFiles(msgspec.Struct, frozen=True):
    """What came and went at the top of the package folders, as of a state of them.

    Attributes:
        stamp: That state.
        strangers: Files that run at every start of Python and belong to no package.
        gone: Folders and modules that packages brought and that are there no longer.
    """

    stamp: str
    strangers: tuple[str, ...]
    gone: tuple[str, ...]


class NodeCodeState(msgspec.Struct, frozen=True):
    """Whether a node's code is not what was recorded, as of a state of its files, and the day it was looked at."""

    stamp: str
    day: str
    is_dirty: bool


class CheckCacheFile(msgspec.Struct, frozen=True, kw_only=True):
    """`state/checks.json`.

    Attributes:
        generation: The environment that `packages` speaks of.
        packages: What is known of the files of each package of it.
        startup: What is known of the top of its package folders.
        nodes: What is known of each registered node.
        sizes: Bytes of each environment, by its folder.
        transactions: Node and status of each transaction, by the stamp of its file.
        snapshots: Stamps of snapshots that were found whole.
        fresh: Hashes of pyproject.toml and uv.lock of which uv said that they fit (`1`) or do not (`0`).
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
    """The cache while checks are made; each check puts back what it still needs.

    Attributes:
        path: Its file.
        kept: What earlier checks knew.
        new: What is to be kept, by the name of the field.
    """

    path: Path
    kept: CheckCacheFile
    new: dict[str, object] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> CheckCache:
        """Read what was kept; a file that is damaged is as good as none."""
        found = read_state(path, CheckCacheFile, only_look=True)
        return cls(path, found if isinstance(found, CheckCacheFile) else CheckCacheFile())

    def save(self) -> None:
        """Write what changed; what cannot be written is only found out again the next time."""
        with contextlib.suppress(Failure):
            write_if_changed(self.path, to_json(msgspec.structs.replace(self.kept, **self.new)))


@dataclass(frozen=True)
class CheckBudget:
    """How long checks may take.

    Attributes:
        clock: The clock.
        until: When they must end, by its monotonic reading; None for as long as it takes.
    """

    clock: Clock
    until: float | None

    @classmethod
    def of(cls, clock: Clock, seconds: float | None) -> CheckBudget:
        """Start a budget now."""
        return cls(clock, None if seconds is None else clock.monotonic() + seconds)

    @property
    def is_left(self) -> bool:
        """Whether there is time for one more thing."""
        return self.until is None or self.clock.monotonic() < self.until

    @property
    def is_endless(self) -> bool:
        """Whether everything is to be looked at anew, however long it takes."""
        return self.until is None


def stamp_files(paths: Iterable[str | os.PathLike[str]]) -> str:
    """Return a text that changes when any of these files is replaced or written."""
    parts = []
    for path in paths:
        try:
            found = os.stat(path)
        except OSError:
            parts.append("-")
        else:
            parts.append(f"{found.st_ino}:{found.st_size}:{found.st_mtime_ns}")
    return " ".join(parts)
