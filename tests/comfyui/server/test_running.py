"""ComfyUIs that run on this machine: real processes whose command is that of ComfyUI."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from comfywatchman.comfyui.server.running import find_running_comfyuis

pytestmark = pytest.mark.slow

SERVER = """
import socket, sys
listener = socket.create_server((sys.argv[sys.argv.index("--listen") + 1], 0))
print(listener.getsockname()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def comfyui(tmp_path: Path) -> Path:
    folder = tmp_path / "ComfyUI"
    (folder / "comfy").mkdir(parents=True)
    (folder / "main.py").write_text(SERVER)
    (folder / "nodes.py").touch()
    return folder


@pytest.mark.parametrize(("listen", "host"), [("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "127.0.0.1")])  # noqa: S104
def test_process_tells_folder_address_and_options(comfyui: Path, listen: str, host: str) -> None:
    options = ["--listen", listen, "--base-directory", "../data", "--extra-model-paths-config", "a.yaml", "/b.yaml"]
    command = [sys.executable, "-u", "main.py", *options, "--cpu"]
    with subprocess.Popen(command, cwd=comfyui, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        (found,) = [server for server in find_running_comfyuis() if server.pid == process.pid]
        process.communicate("")
    assert found.folder == comfyui
    assert found.python == Path(sys.executable)
    assert found.url == f"http://{host}:{port}"
    assert found.base_directory == comfyui / "../data"
    assert found.models_directory is None
    assert found.extra_model_paths == (comfyui / "a.yaml", Path("/b.yaml"))


def test_other_program_named_main_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("import sys; print(flush=True); sys.stdin.read()")
    with subprocess.Popen(
        [sys.executable, "main.py"], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert process.pid not in {server.pid for server in find_running_comfyuis()}
        process.communicate("")
