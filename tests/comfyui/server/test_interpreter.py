from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from comfywatchman.comfyui.server.interpreter import find_interpreters
from comfywatchman.comfyui.server.listening import find_servers

pytestmark = pytest.mark.slow

SERVE = "import sys\nprint('up', flush=True)\nsys.stdin.read()\n"


@pytest.mark.parametrize("command", ["absolute", "relative", "on PATH"])
def test_interpreter_is_the_path_inside_the_environment(tmp_path: Path, command: str) -> None:
    folder = tmp_path / "venv" / "bin"
    folder.mkdir(parents=True)
    (folder / "python-here").symlink_to(sys.executable)
    (tmp_path / "main.py").write_text(SERVE)
    argument = {"absolute": str(folder / "python-here"), "relative": "venv/bin/python-here", "on PATH": "python-here"}
    with subprocess.Popen(
        [argument[command], "main.py"],
        executable=folder / "python-here",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        try:
            assert find_interpreters(find_servers(tmp_path)) == ((process.pid, folder / "python-here"),)
        finally:
            process.communicate(timeout=60)
