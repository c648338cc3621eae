"""Where governance keeps its files: the governed root and everything below it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

TRUTH_FILES: Final = ("pyproject.toml", "uv.lock", "plugins.json")
"""The three files that a rollback restores: what is declared, what is locked, which nodes are registered."""


@dataclass(frozen=True, slots=True)
class GovLayout:
    """The governed root.

    Attributes:
        root: The folder that holds the files of the governed Python environment of one ComfyUI.
    """

    root: Path

    @property
    def config(self) -> Path:
        """How this root is governed; written by people."""
        return self.root / "config.toml"

    @property
    def pyproject(self) -> Path:
        """What is declared."""
        return self.root / "pyproject.toml"

    @property
    def lock(self) -> Path:
        """What is locked."""
        return self.root / "uv.lock"

    @property
    def plugins(self) -> Path:
        """Which custom nodes are registered."""
        return self.root / "state" / "plugins.json"

    @property
    def production(self) -> Path:
        """The link to the generation in production."""
        return self.root / ".venv-prod"

    @property
    def candidates(self) -> Path:
        """The folder of candidate environments, one for each transaction."""
        return self.root / ".venv-candidate"

    @property
    def generations(self) -> Path:
        """The folder of complete environments, one for each state of the truth files."""
        return self.root / "envs"

    @property
    def snapshots(self) -> Path:
        """The folder of snapshots."""
        return self.root / "snapshots"

    @property
    def snapshots_index(self) -> Path:
        """The list of snapshots, oldest first."""
        return self.root / "state" / "snapshots_index.json"

    @property
    def transactions(self) -> Path:
        """The folder of transaction records."""
        return self.root / "state" / "transactions"

    @property
    def operations(self) -> Path:
        """The folder of operation records: each change of the truth files, so that it can be undone."""
        return self.root / "state" / "operations"

    @property
    def conflicts(self) -> Path:
        """The folder of conflict reports."""
        return self.root / "state" / "conflicts"

    @property
    def logs(self) -> Path:
        """The folder of what uv and ComfyUI printed."""
        return self.root / "state" / "logs"

    @property
    def check_cache(self) -> Path:
        """What checks keep from one time to the next; a cache."""
        return self.root / "state" / "checks.json"

    @property
    def work(self) -> Path:
        """The folder of private copies of the truth files that are being edited."""
        return self.root / "state" / "work"

    @property
    def journal(self) -> Path:
        """The record of a commit that has begun; there only while one is under way, or was cut off."""
        return self.root / "state" / "journal.json"

    @property
    def lock_file(self) -> Path:
        """The lock of every command that writes here."""
        return self.root / "state" / ".lock"

    def truth_file(self, name: str) -> Path:
        """Return where a truth file stands (a name of `TRUTH`)."""
        return self.plugins if name == "plugins.json" else self.root / name
