"""The first switch of a real ComfyUI that was started by hand: from its page to a supervisor that proves the other."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from comfywatchman.comfyui.server.listening import find_free_port
from comfywatchman.supervisor.mailbox import SwitchState, read_switch_status
from comfywatchman.supervisor.process_files import find_orchestrator
from scripts.real_comfyui import Installed
from tests.supervisor.workspace_builders import WorkspaceBuilder

pytestmark = [pytest.mark.real_comfyui, pytest.mark.slow]

NOT_COPIED = shutil.ignore_patterns("__pycache__", ".git", "venv", ".venv", "*.safetensors", "*.ckpt")
"""A checkout may hold an environment and models."""


class SwitchSite:
    """A workspace with the environments `a` and `b`, each with a real ComfyUI and the panel."""

    def __init__(self, folder: Path, installed: Installed) -> None:
        self.installed = installed
        self.root = WorkspaceBuilder(folder / "ws").build()
        self.metadata = self.root / ".metadata"
        self.port = find_free_port()
        self.by_hand: subprocess.Popen[bytes] | None = None
        for name in ("a", "b"):
            self._add_environment(name)
        command = [sys.executable, "-m", "comfywatchman", "--home", str(folder / "home")]
        subprocess.run([*command, "supervise", "install-panel", "--workspace", str(self.root)], check=True)

    def _add_environment(self, name: str) -> None:
        folder = self.root / "environments" / name
        shutil.copytree(self.installed.tree, folder / "ComfyUI", ignore=NOT_COPIED)
        (folder / "ComfyUI" / "custom_nodes").mkdir(exist_ok=True)
        python = folder / ".venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        # Not a link: through it, Python would look for its packages here.
        python.write_text(f'#!/bin/sh\nexec "{self.installed.python}" "$@"\n')
        python.chmod(0o755)

    def start_by_hand(self) -> None:
        folder = self.root / "environments" / "a"
        front_end = [f"--front-end-root={self.installed.front_end}"] if self.installed.front_end else []
        command = [str(folder / ".venv" / "bin" / "python"), "main.py", "--cpu", f"--port={self.port}", *front_end]
        with (self.root / "by-hand.log").open("wb") as log:
            self.by_hand = subprocess.Popen(
                [*command, "--disable-auto-launch"],
                cwd=folder / "ComfyUI",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.wait_for(lambda: self.ask("GET", "/system_stats") is not None)

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any] | None:
        """Return the JSON of an answer with status 2xx; None without one."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": "application/json"})
            response = connection.getresponse()
            content = json.loads(response.read())
            return dict(content) if response.status < http.client.MULTIPLE_CHOICES else None
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()

    def wait_for(self, condition: Callable[[], bool], *, limit_seconds: float = 180) -> None:
        deadline = time.monotonic() + limit_seconds
        while not condition():
            assert time.monotonic() < deadline, self._read_logs()
            time.sleep(0.2)

    def end(self) -> None:
        if self.by_hand is not None and self.by_hand.poll() is None:
            self.by_hand.kill()
            self.by_hand.wait()
        orchestrator = find_orchestrator(self.metadata)
        if orchestrator is not None:
            # Its ComfyUI ends with it.
            os.kill(orchestrator.pid, signal.SIGKILL)

    def _read_logs(self) -> str:
        names = ("by-hand.log", ".metadata/orchestrator.log", ".metadata/comfyui.log")
        paths = [self.root / name for name in names]
        return "\n".join(path.read_text("utf-8", "replace")[-2000:] for path in paths if path.exists())


@pytest.fixture
def site(tmp_path: Path, real_comfyui_installed: Installed, monkeypatch: pytest.MonkeyPatch) -> Iterator[SwitchSite]:
    for name in ("COMFYGIT_HOME", "COMFYGIT_SUPERVISED", "COMFYGIT_CG_RUN_SUPERVISOR"):
        monkeypatch.delenv(name, raising=False)
    site = SwitchSite(tmp_path, real_comfyui_installed)
    yield site
    site.end()


def test_first_switch_of_a_comfyui_started_by_hand(site: SwitchSite) -> None:
    site.start_by_hand()
    assert site.by_hand is not None
    assert site.ask("POST", "/v2/comfygit/switch_environment", {"target_env": "b"}) is not None
    assert site.by_hand.wait(60) == 43

    def is_complete() -> bool:
        status = read_switch_status(site.metadata)
        return status is not None and status.state is SwitchState.COMPLETE

    site.wait_for(is_complete)
    environments = site.ask("GET", "/v2/comfygit/environments")
    assert environments is not None
    assert (environments["current"], environments["is_supervised"]) == ("b", True)
    health = "/v2/comfygit/orchestrator/health"
    site.wait_for(lambda: (site.ask("GET", health) or {}).get("status") == "ready")

    assert site.ask("POST", "/v2/comfygit/orchestrator/kill", {}) is not None
    site.wait_for(lambda: find_orchestrator(site.metadata) is None)
    assert site.ask("GET", "/system_stats") is None
    assert not (site.metadata / ".switch.lock").exists()
