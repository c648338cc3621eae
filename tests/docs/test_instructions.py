"""docs/instructions.md and docs/tech.md: their commands, run on a new machine with stand-ins for ComfyUI and PyPI."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cli.version.repositories import ComfyUISource, make_source
from tests.hosts import QUIET

CHECKOUT = Path(__file__).parents[2]
DOCS = CHECKOUT / "docs"

MAIN = f"""
import os
import sys
import tiny
if "--quick-test-for-ci" not in sys.argv:
    port = sys.argv[sys.argv.index("--port") + 1]
    os.chdir({str(CHECKOUT)!r})
    os.execv({sys.executable!r}, [{sys.executable!r}, "-m", "tests.servers.comfyui", "--port", port])
"""


def read_commands(name: str, *, until: str = "") -> str:
    """Return the commands of a page in order, those before a heading when one is given."""
    text = (DOCS / name).read_text("utf-8")
    if until:
        text, found, _rest = text.partition(f"\n{until}")
        assert found, until
    return "".join(re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


def replace_choices(commands: str, **choices: str) -> str:
    """Replace the values of variables; each must be set once."""
    for name, value in choices.items():
        lines = re.findall(rf"^{name}=\S+", commands, flags=re.MULTILINE)
        assert len(lines) == 1, name
        commands = commands.replace(lines[0], f"{name}={value}", 1)
    return commands


def find_free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def run_script(script: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a script of bash; what it started and left behind is ended."""
    argv = ["bash", "-c", script]
    with subprocess.Popen(
        argv,
        cwd=folder,
        env=environment,
        text=True,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            output, errors = process.communicate(timeout=600)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(argv, process.returncode, output, errors)


def test_pages_have_commands() -> None:
    assert read_commands("instructions.md").count("comfywatchman version") >= 12
    assert "cmp" in read_commands("tech.md")


def run_instructions(folder: Path, source: ComfyUISource, commands: str) -> Path:
    """Run commands for a user whose home is in a folder; return the home of the versions."""
    commands = replace_choices(
        commands,
        REF="v1",
        TORCH="index",
        PORT=str(find_free_port()),
        SOURCE=f"(--repo {source.repository})",
        PACKAGES=f"(--offline --find-links {source.wheels} --allow-local)",
        DEVICE="(--cpu)",
    )
    home = folder / "user"
    home.mkdir()
    environment = {
        **QUIET,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "PYTHONPATH": str(CHECKOUT),
    }
    result = run_script(f"set -euo pipefail\n{commands}", home, environment)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Both versions describe the same state." in result.stdout
    return home / "comfy"


@pytest.mark.slow
def test_commands_lead_from_a_new_machine_to_a_rebuilt_version(tmp_path: Path) -> None:
    source = make_source(tmp_path, main=MAIN)
    home = run_instructions(tmp_path, source, read_commands("instructions.md") + read_commands("tech.md"))
    assert (home / "versions" / "first" / "ComfyUI" / "main.py").exists()
    assert not (home / "versions" / "offline").exists()
