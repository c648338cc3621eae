"""Workspaces, environments and state files for tests of the supervisor."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class EnvironmentBuilder:
    """Builds `environments/<name>/`: ComfyUI's main.py and the link to an interpreter."""

    workspace: Path
    name: str
    main: str = ""
    python: Path | None = None

    @property
    def folder(self) -> Path:
        return self.workspace / "environments" / self.name

    @property
    def comfyui(self) -> Path:
        return self.folder / "ComfyUI"

    def build(self) -> Path:
        """Create the environment and return the folder of main.py."""
        self.comfyui.mkdir(parents=True)
        (self.comfyui / "main.py").write_text(self.main)
        if self.python is not None:
            python = self.folder / ".venv" / "bin" / "python"
            python.parent.mkdir(parents=True)
            python.symlink_to(self.python)
        return self.comfyui


@dataclass
class WorkspaceBuilder:
    """Builds a comfygit workspace."""

    root: Path
    with_metadata: bool = True
    environments: list[EnvironmentBuilder] = field(default_factory=list)

    @property
    def metadata(self) -> Path:
        return self.root / ".metadata"

    def add_environment(self, name: str, *, main: str = "", python: Path | None = None) -> WorkspaceBuilder:
        self.environments.append(EnvironmentBuilder(self.root, name, main, python))
        return self

    def build(self) -> Path:
        """Create the workspace with its environments and return its folder."""
        (self.root / "environments").mkdir(parents=True)
        (self.root / "pyproject.toml").write_text("")
        if self.with_metadata:
            self.metadata.mkdir()
        for environment in self.environments:
            environment.build()
        return self.root


@dataclass
class StateFileBuilder:
    """Writes state files as comfygit's own code does: without our further fields, and not as a whole."""

    metadata: Path

    def write(self, name: str, content: bytes | dict[str, Any], *, age_seconds: float = 0.0) -> Path:
        """Write a file that was last changed some time ago."""
        path = self.metadata / name
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content, indent=2).encode())
        if age_seconds:
            moment = path.stat().st_mtime - age_seconds
            os.utime(path, (moment, moment))
        return path
