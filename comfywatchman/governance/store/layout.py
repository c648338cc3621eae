"""The files of governance: the governed root and everything below it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

TRUTH_FILES: Final = ("pyproject.toml", "uv.lock", "plugins.json")
"""The three files that a rollback restores: the declared and the locked packages, and the registered nodes."""


@dataclass(frozen=True, slots=True)
class GovLayout:
    """The governed root.

    Attributes:
        root: The folder that holds the files of the governed Python environment of one ComfyUI.
    """

    root: Path

    @property
    def config(self) -> Path:
        """The settings of this root; users edit them."""
        return self.root / "config.toml"

    @property
    def launcher(self) -> Path:
        """The program that runs `gov` on this root."""
        return self.root / "bin" / "gov"

    @property
    def pyproject(self) -> Path:
        """The declared packages."""
        return self.root / "pyproject.toml"

    @property
    def uv_lock(self) -> Path:
        """The locked packages."""
        return self.root / "uv.lock"

    @property
    def plugins(self) -> Path:
        """The registered custom nodes."""
        return self.root / "state" / "plugins.json"

    @property
    def comfyui(self) -> Path:
        """The record of the ComfyUI that is governed."""
        return self.root / "state" / "comfyui.json"

    @property
    def wheels(self) -> Path:
        """The wheels built from installed packages that no index has (`gov init --adopt`)."""
        return self.root / "wheels"

    @property
    def start(self) -> Path:
        """The record of the last start of ComfyUI in production."""
        return self.root / "state" / "start.json"

    @property
    def code(self) -> Path:
        """The copies of the code of nodes without git, by node and hash."""
        return self.root / "code"

    @property
    def production(self) -> Path:
        """The link to the production environment."""
        return self.root / ".venv-prod"

    @property
    def candidates(self) -> Path:
        """The folder of candidate environments, one per transaction."""
        return self.root / ".venv-candidate"

    @property
    def generations(self) -> Path:
        """The folder of complete environments, one per state of the truth files."""
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
        """The folder of operation records: the changes of the truth files, so that they can be undone."""
        return self.root / "state" / "operations"

    @property
    def checkouts(self) -> Path:
        """The folder with the changes of ComfyUI's checkout, by operation."""
        return self.root / "state" / "checkouts"

    @property
    def conflicts(self) -> Path:
        """The folder of conflict reports."""
        return self.root / "state" / "conflicts"

    @property
    def logs(self) -> Path:
        """The folder with the output of uv and ComfyUI."""
        return self.root / "state" / "logs"

    @property
    def check_cache(self) -> Path:
        """The cache of checks."""
        return self.root / "state" / "checks.json"

    @property
    def work(self) -> Path:
        """The folder of staging folders, private copies of the truth files."""
        return self.root / "state" / "work"

    @property
    def journal(self) -> Path:
        """The journal of a commit; it exists only while one is in progress, or was interrupted."""
        return self.root / "state" / "journal.json"

    @property
    def process_lock(self) -> Path:
        """The lock that every command that writes here holds."""
        return self.root / "state" / ".lock"

    def truth_file(self, name: str) -> Path:
        """Return the path of a truth file (a name in `TRUTH_FILES`)."""
        if name == "plugins.json":
            return self.plugins
        return self.root / name
