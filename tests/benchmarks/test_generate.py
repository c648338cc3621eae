from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks import generate
from benchmarks.generate import generate_host
from comfywatchman.comfyui.install.install import is_comfyui
from comfywatchman.comfyui.models.file import check_header
from comfywatchman.readiness.sample.host import find_installed_templates

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    find_installed_templates() is None, reason="comfyui-workflow-templates-json is not installed"
)


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.slow
def test_a_generated_host_is_whole_and_the_same_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, count in {"MODELS": 120, "PACKS": 6, "REPOSITORIES": 1, "WORKFLOWS": 60}.items():
        monkeypatch.setattr(generate, name, count)
    host = generate_host(tmp_path / "one")
    models = [path for path in (host.root / "models").rglob("*") if path.is_file()]
    assert is_comfyui(host.root)
    assert len(models) == 120
    assert {check_header(path, path.stat().st_size).problem for path in models} == {None}
    assert len({path.read_bytes() for path in models}) == 120
    assert len({path.parent for path in models}) == 40
    assert len(list(host.workflow_folder.rglob("*.*"))) == 60
    assert len(list(host.workflow_folder.rglob("*.png"))) == 4
    assert len(list((host.root / "custom_nodes").glob("*/.git"))) == 1
    generate_host(tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
