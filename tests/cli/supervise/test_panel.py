from __future__ import annotations

import json

import pytest

from comfywatchman.supervisor.panel import install
from tests.cli.supervise.calls import SupervisedWorkspace


@pytest.fixture
def without_venv(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the supervisor's environment out, which has tests of its own."""
    monkeypatch.setattr(install, "ensure_orchestrator_venv", lambda path: path)


@pytest.mark.usefixtures("without_venv")
def test_panel_is_installed_in_every_environment(idle: SupervisedWorkspace) -> None:
    folders = [idle.workspace.comfyui(name) / "custom_nodes" for name in ("main", "other")]
    for folder in folders:
        folder.mkdir()
    packs = [folder / "comfywatchman-panel" for folder in folders]
    assert idle.json("install-panel")["installed"] == [str(pack) for pack in packs]
    settings = json.loads((packs[0] / "panel.json").read_text())
    assert settings["workspace"] == str(idle.workspace.root)
    assert settings["environment_files"] == "environments/*/ComfyUI/main.py"
    assert f"Installed: {packs[1]}" in idle("install-panel", "other").stdout


@pytest.mark.usefixtures("without_venv")
def test_environment_without_an_interpreter_is_reported(idle: SupervisedWorkspace) -> None:
    (idle.workspace.comfyui("main") / "custom_nodes").mkdir()
    (idle.workspace.comfyui("other").parent / ".venv" / "bin" / "python").unlink()
    content = idle.json("install-panel", code=1)
    assert len(content["installed"]) == 1
    assert [failure["code"] for failure in content["failed"]] == ["supervisor-environment-unknown"]
    assert idle("install-panel", "other").exit_code == 1
