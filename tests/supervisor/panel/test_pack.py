"""The pack as ComfyUI loads it: by its file, under a name of its own, beside ComfyUI's server module."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import psutil
import pytest

from comfywatchman.supervisor.panel import install
from comfywatchman.supervisor.panel.install import PanelTarget, install_panel
from tests.supervisor.panel.panel_host import ComfyServer

SOURCE = Path(install.__file__).parent / "pack"
Loader = Callable[[Path], ModuleType]


@pytest.fixture
def comfy() -> ComfyServer:
    return ComfyServer()


@pytest.fixture
def load(comfy: ComfyServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loader]:
    """Load a pack as `load_custom_node` of ComfyUI's nodes.py does."""
    server = ModuleType("server")
    server.__dict__["PromptServer"] = SimpleNamespace(instance=comfy)
    monkeypatch.setitem(sys.modules, "server", server)
    before = set(sys.modules)

    def load(folder: Path) -> ModuleType:
        name = str(folder).replace(".", "_x_")
        spec = importlib.util.spec_from_file_location(name, folder / "__init__.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module

    yield load
    for name in set(sys.modules) - before:
        if name.startswith("/"):
            del sys.modules[name]


@pytest.fixture
def pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed pack; its supervisor's environment, which has tests of its own, counts as there."""
    monkeypatch.setattr(install, "ensure_orchestrator_venv", lambda path: path)
    monkeypatch.setattr(install, "interpreter_of", lambda _venv: sys.executable)
    (tmp_path / "custom_nodes").mkdir()
    return install_panel(PanelTarget(tmp_path / "custom_nodes", tmp_path, tmp_path / ".metadata"))


def test_installed_pack_registers_its_routes(comfy: ComfyServer, load: Loader, pack: Path) -> None:
    module = load(pack)
    assert (module.NODE_CLASS_MAPPINGS, module.WEB_DIRECTORY) == ({}, "./web")
    assert len(list(comfy.routes)) == 7


def test_lazy_supervision_no_spawn_on_startup(load: Loader, pack: Path, tmp_path: Path) -> None:
    children = psutil.Process().children()
    load(pack)
    assert psutil.Process().children() == children
    assert not (tmp_path / ".metadata").exists()


def test_pack_without_settings_asks_for_an_installation(
    comfy: ComfyServer, load: Loader, caplog: pytest.LogCaptureFixture
) -> None:
    assert load(SOURCE).NODE_CLASS_MAPPINGS == {}
    assert "install the panel again" in caplog.text
    assert list(comfy.routes) == []


def test_pack_outside_comfyui_registers_nothing(
    comfy: ComfyServer, load: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "server")
    assert load(SOURCE).NODE_CLASS_MAPPINGS == {}
    assert list(comfy.routes) == []
