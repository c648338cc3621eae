from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.supervisor.workspace_builders import StateFileBuilder


@pytest.fixture
def metadata(tmp_path: Path) -> Path:
    """The `.metadata/` of an otherwise empty workspace."""
    folder = tmp_path / "workspace" / ".metadata"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def foreign(metadata: Path) -> StateFileBuilder:
    """Writes state files as comfygit does."""
    return StateFileBuilder(metadata)


@pytest.fixture(autouse=True)
def clean_env_vars(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start each test without the variables of a workspace."""
    for name in [name for name in os.environ if name.startswith("COMFYGIT_")]:
        monkeypatch.delenv(name)
