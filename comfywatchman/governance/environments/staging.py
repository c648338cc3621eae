"""Staging: private copies of the truth files that are edited and locked. Production changes only with a commit."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular, to_json, unwritable_failure, write_atomic
from comfywatchman.base.state.state_file import CorruptFile, read_state
from comfywatchman.governance.environments.snapshot import (
    MAX_TRUTH_BYTES,
    hash_contents,
    read_root_files,
    read_truth_files,
)
from comfywatchman.governance.environments.truth_damage import describe_restoration, require_undamaged_truth
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.records import NodeRegistry
from comfywatchman.governance.uv.client import Uv, UvResult

_PROJECT: Final = "pyproject.toml"
_PLUGINS: Final = "plugins.json"


@dataclass(frozen=True, slots=True)
class StagingDir:
    """A folder with its own copies of the three truth files.

    Attributes:
        folder: A folder directly below `state/work`, so that relative paths in the lock stay the same.
    """

    folder: Path

    def read_project(self) -> str:
        """Return the copy of pyproject.toml as text.

        Raises:
            Failure: `gov-truth-damaged`.
        """
        try:
            return read_regular(self.folder / _PROJECT, max_bytes=MAX_TRUTH_BYTES).decode("utf-8")
        except (Failure, UnicodeDecodeError) as error:
            raise Failure(
                "gov-truth-damaged",
                f"pyproject.toml of the governed root cannot be read: {error}.",
                hint="Correct the file, or go back to a snapshot: gov snapshot list.",
            ) from error

    def edit_project(self, edit: Callable[[str], str]) -> None:
        """Replace the copy of pyproject.toml by the result of an edit, such as one of `truth`."""
        self.write_project(edit(self.read_project()))

    def write_project(self, text: str) -> None:
        """Replace the copy of pyproject.toml."""
        write_atomic(self.folder / _PROJECT, text.encode("utf-8"))

    def read_registry(self) -> NodeRegistry:
        """Return the copy of plugins.json; an empty registry when there is none.

        Raises:
            Failure: `gov-truth-damaged`.
        """
        return read_registry_file(self.folder / _PLUGINS)

    def write_registry(self, registry: NodeRegistry) -> None:
        """Replace the copy of plugins.json."""
        write_atomic(self.folder / _PLUGINS, to_json(registry))

    def lock(self, uv: Uv, python: Path, *, pins: Sequence[str] = ()) -> UvResult:
        """Resolve the copy of pyproject.toml into the copy of uv.lock.

        Args:
            uv: The uv client of the governed root.
            python: The interpreter to resolve for.
            pins: Tested versions to prefer, `package==version`; pyproject.toml is the same afterwards.
        """
        if not pins:
            return uv.lock(self.folder, python=python)
        # uv keeps the versions of an existing lock: the first pass is held to the pins by constraints, and the second
        # one keeps its choice although the constraints are gone.
        text = self.read_project()
        self.write_project(truth.add_constraints(text, pins))
        try:
            constrained = uv.lock(self.folder, python=python)
        finally:
            self.write_project(text)
        if not constrained.is_success:
            return constrained
        return uv.lock(self.folder, python=python)

    def contents(self) -> dict[str, bytes]:
        """Return the bytes of the copies, by name."""
        return read_truth_files(self.folder)

    def hashes(self) -> dict[str, str]:
        """Return the SHA-256 of the copies, by name."""
        return hash_contents(self.contents())


@contextmanager
def open_staging(layout: GovLayout, *, contents: Mapping[str, bytes] | None = None) -> Iterator[StagingDir]:
    """Create a staging folder with copies of the truth files, and delete it at the end.

    Args:
        layout: The governed root; its lock must be held.
        contents: Files to start from instead of the root's, such as those of a snapshot.

    Raises:
        Failure: `state-unwritable`; `gov-truth-damaged` when the files of the root do not belong together.
    """
    folder = layout.work / secrets.token_hex(6)
    if contents is None:
        files: Mapping[str, bytes] = read_root_files(layout)
        require_undamaged_truth(layout, files)
    else:
        files = contents
    try:
        _write_files(folder, files)
        yield StagingDir(folder)
    finally:
        # An interrupted commit still needs the files: recovery finishes it from them.
        if not layout.journal.exists():
            shutil.rmtree(folder, ignore_errors=True)


def read_registry(layout: GovLayout) -> NodeRegistry:
    """Return the registered nodes of a governed root; an empty registry when there is none yet.

    Raises:
        Failure: `gov-truth-damaged`, also when the file is missing although there is a lock.
    """
    if layout.uv_lock.exists() and not layout.plugins.exists():
        message = "plugins.json of the governed root is missing."
        raise Failure("gov-truth-damaged", message, hint=describe_restoration(layout))
    return read_registry_file(layout.plugins)


def read_registry_file(path: Path) -> NodeRegistry:
    """Return the node registry in a file; an empty one when the file does not exist.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    registry = read_state(path, NodeRegistry, only_look=True)
    if isinstance(registry, CorruptFile):
        raise Failure(
            "gov-truth-damaged",
            f"plugins.json of the governed root cannot be used: {registry.reason}.",
            hint="Correct the file, or go back to a snapshot: gov snapshot list.",
        )
    return registry or NodeRegistry()


def _write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise unwritable_failure(folder, error) from error
    for name, content in files.items():
        write_atomic(folder / name, content)
