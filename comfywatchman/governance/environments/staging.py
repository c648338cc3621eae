"""Private copies of the truth files, edited and resolved aside; production sees them only after a commit."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import CorruptFile, read_regular, read_state, to_json, unwritable_failure, write_atomic
from comfywatchman.governance.environments.snapshot import (
    MAX_TRUTH_BYTES,
    hash_contents,
    read_root_files,
    read_truth_files,
)
from comfywatchman.governance.store import truth
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.records import NodeRegistry
from comfywatchman.governance.uv.client import Uv, UvResult

_PROJECT = "pyproject.toml"
_LOCK = "uv.lock"
_PLUGINS = "plugins.json"


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
        """Replace the copy of pyproject.toml by what an edit of `truth` makes of it."""
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

    def write_registry(self, plugins: NodeRegistry) -> None:
        """Replace the copy of plugins.json."""
        write_atomic(self.folder / _PLUGINS, to_json(plugins))

    def lock(self, uv: Uv, python: Path, *, pins: Sequence[str] = ()) -> UvResult:
        """Resolve the copy of pyproject.toml into the copy of uv.lock.

        Args:
            uv: The uv client of the governed root.
            python: The interpreter to resolve for.
            pins: Versions that were tested, `package==version`: a first pass is held to them, and the second, without
                them, keeps what the first chose. pyproject.toml comes back to the same bytes.
        """
        if not pins:
            return uv.lock(self.folder, python=python)
        text = self.read_project()
        self.write_project(truth.add_constraints(text, pins))
        try:
            ended = uv.lock(self.folder, python=python)
        finally:
            self.write_project(text)
        return uv.lock(self.folder, python=python) if ended.is_success else ended

    def contents(self) -> dict[str, bytes]:
        """Return the bytes of the copies, by name."""
        return read_truth_files(self.folder)

    def hashes(self) -> dict[str, str]:
        """Return the SHA-256 of the copies, by name."""
        return hash_contents(self.contents())


@contextmanager
def open_staging(layout: GovLayout, *, contents: Mapping[str, bytes] | None = None) -> Iterator[StagingDir]:
    """Make a workshop with copies of the truth files; it goes at the end unless a commit that was cut off needs it.

    Args:
        layout: The governed root; its lock must be held.
        contents: Use these in place of the root's truth files, such as those of a snapshot.

    Raises:
        Failure: `state-unwritable`.
    """
    folder = layout.work / secrets.token_hex(6)
    files = read_root_files(layout) if contents is None else contents
    try:
        _write_files(folder, files)
        yield StagingDir(folder)
    finally:
        if not layout.journal.exists():
            shutil.rmtree(folder, ignore_errors=True)


def _write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise unwritable_failure(folder, error) from error
    for name, content in files.items():
        write_atomic(folder / name, content)


def read_registry(layout: GovLayout) -> NodeRegistry:
    """Return the registered nodes of a root; none when there is no registry yet.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    return read_registry_file(layout.plugins)


def read_registry_file(path: Path) -> NodeRegistry:
    """Return the registry in a file.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    plugins = read_state(path, NodeRegistry, only_look=True)
    if isinstance(plugins, CorruptFile):
        raise Failure(
            "gov-truth-damaged",
            f"plugins.json of the governed root cannot be used: {plugins.reason}.",
            hint="Correct the file, or go back to a snapshot: gov snapshot list.",
        )
    return plugins or NodeRegistry()
