"""The panel in a real ComfyUI: loaded without any package of ours, and its exits seen by the parent process."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from comfywatchman.supervisor.mailbox import read_switch_request
from comfywatchman.supervisor.panel import install
from comfywatchman.supervisor.panel.install import PACK_NAME, PanelTarget, install_panel
from comfywatchman.supervisor.process_files import read_startup_state
from scripts.real_comfyui import Installed, Server, start
from tests.supervisor.recorder import Recorder
from tests.supervisor.workspace_builders import WorkspaceBuilder

pytestmark = [pytest.mark.real_comfyui, pytest.mark.slow]


class PanelSite:
    """A workspace, and a base folder with the panel in its custom_nodes."""

    def __init__(self, folder: Path, installed: Installed) -> None:
        self.installed = installed
        self.base = folder / "base"
        (self.base / "custom_nodes").mkdir(parents=True)
        workspace = WorkspaceBuilder(folder / "ws").add_environment("dev").build()
        self.metadata = workspace / ".metadata"
        install_panel(PanelTarget(self.base / "custom_nodes", workspace, self.metadata))
        self.recorder = Recorder(workspace, self.metadata / "orchestrator")
        self.recorder.build()
        self.server: Server | None = None

    def start(self) -> Server:
        self.server = start(self.installed, self.base)
        return self.server

    def end(self) -> None:
        if self.server is not None:
            self.server.stop()
        self.recorder.end()


@pytest.fixture
def site(tmp_path: Path, real_comfyui_installed: Installed, monkeypatch: pytest.MonkeyPatch) -> Iterator[PanelSite]:
    # The recorder takes the place of the supervisor's interpreter.
    monkeypatch.setattr(install, "ensure_orchestrator_venv", lambda path: path)
    for name in ("COMFYGIT_HOME", "COMFYGIT_SUPERVISED", "COMFYGIT_CG_RUN_SUPERVISOR"):
        monkeypatch.delenv(name, raising=False)
    site = PanelSite(tmp_path, real_comfyui_installed)
    yield site
    site.end()


def post(server: Server, path: str, body: dict[str, Any]) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        headers = {"Content-Type": "application/json", "Origin": f"http://127.0.0.1:{server.port}"}
        connection.request("POST", path, json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def test_panel_in_comfyui_started_by_hand(site: PanelSite) -> None:
    server = site.start()
    # Modules of ComfyUI itself may fail where a library of the system is missing.
    failed = [line for line in server.log.read_text().splitlines() if "IMPORT FAILED" in line]
    assert not any(PACK_NAME in line for line in failed)
    for prefix in ("", "/api"):
        status, answer = server.get(f"{prefix}/v2/comfygit/environments")
        assert (status, [environment["name"] for environment in answer["environments"]]) == (200, ["dev"])
    scripts = [path for path in server.get("/extensions")[1] if path.endswith("/comfywatchman.js")]
    assert scripts == ["/extensions/comfywatchman-panel/comfywatchman.js"]
    assert "registerExtension" in server.get(scripts[0])[1]
    assert server.get("/v2/comfygit/orchestrator/health")[0] == 503
    # Lazy: nothing is started or written before the first switch.
    assert not site.recorder.has_started()
    assert [path.name for path in site.metadata.iterdir()] == ["orchestrator"]

    assert post(server, "/v2/comfygit/orchestrator/restart", {})[0] == 409
    assert post(server, "/v2/comfygit/switch_environment", {"target_env": "absent"})[0] == 404
    assert server.process.poll() is None
    assert post(server, "/v2/comfygit/switch_environment", {"target_env": "dev"})[0] == 200

    record = site.recorder.read()
    assert record.has_request
    assert f"--port={server.port}" in record.argv[record.argv.index("--") :]
    assert server.process.wait(120) == 43
    state = read_startup_state(site.metadata)
    assert state is not None
    assert (state.port, state.python_executable) == (server.port, str(site.installed.python))
    # The orchestrator outlives the ComfyUI that started it.
    assert Path(f"/proc/{record.pid}/cwd").exists()


def test_panel_in_supervised_comfyui(site: PanelSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYGIT_SUPERVISED", "1")
    server = site.start()
    assert post(server, "/v2/comfygit/orchestrator/restart", {})[0] == 200
    assert server.process.wait(120) == 42

    server = site.start()
    assert post(server, "/v2/comfygit/switch_environment", {"target_env": "dev"})[0] == 200
    assert server.process.wait(120) == 43
    request = read_switch_request(site.metadata)
    assert request is not None
    assert request.target_env == "dev"
    assert not site.recorder.has_started()
