"""Which ComfyUI a governed root governs."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.install.identity import identify_comfyui
from comfywatchman.governance.store.governed import (
    find_governed_comfyui,
    read_governed,
    record_governed,
    require_governed,
)
from comfywatchman.governance.store.layout import GovLayout
from tests.governance.contexts import DEFAULT_SETTINGS


@pytest.fixture
def layout(tmp_path: Path) -> GovLayout:
    return GovLayout(tmp_path / "env")


@pytest.fixture
def comfyui(tmp_path: Path) -> Path:
    folder = tmp_path / "ComfyUI"
    folder.mkdir()
    return folder


def test_record_is_read_back(layout: GovLayout, comfyui: Path) -> None:
    assert read_governed(layout) is None
    record_governed(layout, comfyui)
    assert read_governed(layout) == identify_comfyui(comfyui)


def test_damaged_record_counts_as_none_and_stays(layout: GovLayout) -> None:
    layout.comfyui.parent.mkdir(parents=True)
    layout.comfyui.write_text("{")
    assert read_governed(layout) is None
    assert layout.comfyui.read_text() == "{"


def test_recorded_comfyui_wins_over_the_configured_one(layout: GovLayout, comfyui: Path, tmp_path: Path) -> None:
    assert find_governed_comfyui(layout, DEFAULT_SETTINGS, tmp_path) == tmp_path
    record_governed(layout, comfyui)
    assert find_governed_comfyui(layout, DEFAULT_SETTINGS, tmp_path) == comfyui
    assert find_governed_comfyui(layout, DEFAULT_SETTINGS, None) == comfyui
    (tmp_path / "link").symlink_to(comfyui)
    assert find_governed_comfyui(layout, DEFAULT_SETTINGS, tmp_path / "link") == tmp_path / "link"


def test_root_without_any_comfyui_is_a_failure(layout: GovLayout) -> None:
    with pytest.raises(Failure, match="No ComfyUI is configured"):
        find_governed_comfyui(layout, DEFAULT_SETTINGS, None)


def test_another_comfyui_is_refused(layout: GovLayout, comfyui: Path, tmp_path: Path) -> None:
    require_governed(layout.root, comfyui, comfyui)
    with pytest.raises(Failure) as raised:
        require_governed(layout.root, comfyui, tmp_path)
    assert raised.value.code == "gov-other-comfyui"
