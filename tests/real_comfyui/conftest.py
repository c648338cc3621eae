from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scripts.real_comfyui import CannotBuildError, Installed, Server, installed, start

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The first of them may have to fetch and build the environment, which counts as part of that test.
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def real_comfyui_installed() -> Installed:
    """A real ComfyUI that can be started; where it cannot be had, its tests are skipped with that reason."""
    try:
        return installed()
    except CannotBuildError as error:
        pytest.skip(f"no real ComfyUI here: {error}")


@pytest.fixture(scope="session")
def real_comfyui(real_comfyui_installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One running ComfyUI with an empty base folder, for all tests that only add files of their own.

    Its log stays in pytest's temporary folder, which keeps the last three sessions.
    """
    server = start(real_comfyui_installed, tmp_path_factory.mktemp("real_comfyui"))
    yield server
    server.stop()
