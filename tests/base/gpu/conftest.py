from __future__ import annotations

from pathlib import Path

import pytest

from tests.nvml.library import build_nvml


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_nvml(tmp_path_factory.mktemp("nvml"))
