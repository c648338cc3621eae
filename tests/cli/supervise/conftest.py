from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.supervise.calls import SupervisedWorkspace


@pytest.fixture
def idle(tmp_path: Path) -> SupervisedWorkspace:
    """A workspace without a supervisor."""
    return SupervisedWorkspace(tmp_path, "main", "other")


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SupervisedWorkspace]:
    """A workspace with a supervisor; each test leaves it ready."""
    site = SupervisedWorkspace(tmp_path_factory.mktemp("running"), "main", "other", "broken")
    (site.workspace.comfyui("broken") / "exit_at_start").write_text("3")
    with site.supervised():
        site.wait_for_state("ready")
        yield site
