"""The panel installed as a custom node pack, brought up to date, and kept off what is not ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.supervisor.panel import install
from comfywatchman.supervisor.panel.install import PanelTarget, install_panel, panel_is_installed
from comfywatchman.supervisor.panel.pack.workspace_files import read_settings

SOURCE = Path(install.__file__).parent / "pack"


@pytest.fixture
def target(tmp_path: Path) -> PanelTarget:
    (tmp_path / "ComfyUI" / "custom_nodes").mkdir(parents=True)
    return PanelTarget(tmp_path / "ComfyUI" / "custom_nodes", tmp_path / "ws", tmp_path / "ws" / ".metadata")


@pytest.fixture
def without_venv(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the supervisor's environment out, which has tests of its own."""
    monkeypatch.setattr(install, "ensure_orchestrator_venv", lambda path: path)


@pytest.mark.usefixtures("without_venv")
def test_panel_is_installed_whole(target: PanelTarget) -> None:
    assert not panel_is_installed(target)
    pack = install_panel(target)
    assert pack == target.custom_nodes / "comfywatchman-panel"
    assert panel_is_installed(target)
    files = {path.relative_to(pack).as_posix() for path in pack.rglob("*") if path.is_file()}
    assert files == {
        "__init__.py",
        "panel.json",
        "routes.py",
        "spawning.py",
        "web/comfywatchman.js",
        "workspace_files.py",
    }
    assert [path.name for path in target.custom_nodes.iterdir()] == ["comfywatchman-panel"]
    assert os.access(pack, os.R_OK | os.X_OK)


@pytest.mark.usefixtures("without_venv")
def test_panel_reads_the_settings_that_were_installed(target: PanelTarget) -> None:
    pack = install_panel(target)
    settings = read_settings(str(pack))
    assert settings is not None
    python = target.metadata / "orchestrator" / "server" / ".orchestrator_venv" / "bin" / "python"
    assert settings.orchestrator[:2] == (str(python), "-I")
    assert settings.orchestrator[-2:] == ("--workspace", str(target.workspace))
    assert settings.venv_command[0] == sys.executable
    assert settings.venv_command[-1] == str(python.parents[1])
    assert settings.metadata == str(target.metadata)
    assert not settings.allow_remote


@pytest.mark.usefixtures("without_venv")
def test_panel_of_a_governed_root_runs_its_supervisor(target: PanelTarget) -> None:
    arguments = ("--home", "/home/you/cw", "supervise", "run")
    governed = replace(target, environment_names=("production",), run_arguments=arguments)
    settings = read_settings(str(install_panel(governed)))
    assert settings is not None
    assert settings.environment_names == ("production",)
    assert settings.orchestrator[1:] == ("-I", "-m", "comfywatchman", *arguments)
    assert panel_is_installed(governed)
    assert not panel_is_installed(target)


@pytest.mark.usefixtures("without_venv")
def test_changed_panel_is_brought_up_to_date(target: PanelTarget) -> None:
    pack = install_panel(target)
    (pack / "routes.py").write_text("# of an older version")
    settings = json.loads((pack / "panel.json").read_text())
    (pack / "panel.json").write_text(json.dumps({**settings, "allow_remote": True}))
    (pack / "notes.txt").write_text("a person's")
    assert not panel_is_installed(target)
    install_panel(target)
    assert panel_is_installed(target)
    assert (pack / "routes.py").read_bytes() == (SOURCE / "routes.py").read_bytes()
    assert (pack / "notes.txt").exists()
    # The person's choice stays.
    assert json.loads((pack / "panel.json").read_text())["allow_remote"] is True


@pytest.mark.usefixtures("without_venv")
def test_panel_of_another_workspace_is_not_this_one(target: PanelTarget, tmp_path: Path) -> None:
    install_panel(target)
    other = PanelTarget(target.custom_nodes, tmp_path / "other", tmp_path / "other" / ".metadata")
    assert not panel_is_installed(other)
    install_panel(other)
    assert panel_is_installed(other)
    assert not panel_is_installed(target)


@pytest.mark.parametrize("content", [None, b"", b"{torn", b"[]", b'{"workspace": 5}'])
def test_folder_of_others_is_left_alone(target: PanelTarget, content: bytes | None) -> None:
    target.pack.mkdir()
    if content is not None:
        (target.pack / "panel.json").write_bytes(content)
    before = {path.name: path.read_bytes() for path in target.pack.iterdir()}
    with pytest.raises(Failure) as caught:
        install_panel(target)
    assert caught.value.code == "supervisor-panel-taken"
    assert {path.name: path.read_bytes() for path in target.pack.iterdir()} == before
    assert not panel_is_installed(target)


def test_missing_custom_nodes_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(Failure) as caught:
        install_panel(PanelTarget(tmp_path / "absent", tmp_path, tmp_path))
    assert caught.value.code == "comfyui-not-found"


def test_failed_installation_leaves_nothing(target: PanelTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(install, "fsync_file", fail)
    with pytest.raises(Failure, match="No space left") as caught:
        install_panel(target)
    assert caught.value.code == "state-unwritable"
    assert list(target.custom_nodes.iterdir()) == []


@pytest.mark.slow
def test_pack_needs_nothing_of_ours() -> None:
    """Without site-packages, as in ComfyUI's environment: all but the routes, which import aiohttp, can be imported."""
    code = (
        "import importlib.util, sys; "
        f"spec = importlib.util.spec_from_file_location('x', {str(SOURCE / '__init__.py')!r}); "
        "module = importlib.util.module_from_spec(spec); sys.modules['x'] = module; spec.loader.exec_module(module); "
        "import x.workspace_files, x.spawning; print(sorted(name for name in sys.modules if 'comfywatchman' in name))"
    )
    result = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


@pytest.mark.slow
def test_venv_idempotent(target: PanelTarget) -> None:
    pack = install_panel(target)
    python = target.metadata / "orchestrator" / "server" / ".orchestrator_venv" / "bin" / "python"
    # Its packages must not count as code of the node pack.
    assert sum(1 for path in pack.rglob("*.py")) == 4
    assert subprocess.run([python, "-I", "-c", "import comfywatchman"], check=False).returncode == 0
    assert panel_is_installed(target)

    venv = python.parents[1]
    before = (venv.stat().st_ino, (venv / "comfywatchman-venv.json").stat().st_mtime_ns)
    (venv / "marker").write_text("")
    install_panel(target)
    assert (venv.stat().st_ino, (venv / "comfywatchman-venv.json").stat().st_mtime_ns) == before
    assert (venv / "marker").exists()
