from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.jobs.calls import JobsHome, prepare_home
from tests.servers.comfyui import FakeComfyUI


@pytest.fixture
def home(tmp_path: Path) -> Iterator[JobsHome]:
    """A home folder with workflows, without jobs."""
    with FakeComfyUI() as server:
        yield prepare_home(tmp_path / "home", server)
