"""The wheel, in an environment of its own: programs, data files, set-up and a cycle."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
NO_REGISTRY = ("dns error", "Could not connect", "tcp connect error", "operation timed out")


@dataclass(frozen=True)
class InstalledWheel:
    programs: Path
    home: Path
    files: frozenset[Path]

    def run(self, *arguments: str, code: int = 0) -> str:
        environment = {"PATH": f"{self.programs}:/usr/bin:/bin", "HOME": str(self.home), "LANG": "C.UTF-8"}
        result = subprocess.run(arguments, cwd=self.home, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == code, result.stdout + result.stderr
        return result.stdout


def run_uv(*arguments: str | Path) -> None:
    """Run uv with the user's package index and cache; skip where no index can be reached."""
    result = subprocess.run(
        [sys.executable, "-m", "uv", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if result.returncode and any(sign in result.stderr for sign in NO_REGISTRY):
        pytest.skip("no package index can be reached")
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> InstalledWheel:
    folder = tmp_path_factory.mktemp("wheel")
    run_uv("build", "--wheel", "--out-dir", folder / "dist", ROOT)
    (wheel,) = (folder / "dist").glob("*.whl")
    run_uv("venv", "--python", sys.executable, folder / "venv")
    run_uv("pip", "install", "--python", folder / "venv" / "bin" / "python", wheel)
    (folder / "home").mkdir()
    files = frozenset(path for path in (folder / "venv").rglob("*") if path.suffix != ".pyc" and path.is_file())
    return InstalledWheel(folder / "venv" / "bin", folder / "home", files)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("program", ["comfywatchman", "gov", "e3"])
def test_program_starts(installed: InstalledWheel, program: str) -> None:
    assert "Usage: " in installed.run(program, "--help")
    assert f"{program}, version " in installed.run(program, "--version") or program == "e3"


@pytest.mark.timeout(600)
def test_new_user_sets_up_and_runs_a_cycle(installed: InstalledWheel) -> None:
    comfyui = installed.home / "ComfyUI"
    workflows = comfyui / "user" / "default" / "workflows"
    for folder in (comfyui / "comfy", comfyui / "models" / "checkpoints", workflows):
        folder.mkdir(parents=True)
    for name in ("main.py", "nodes.py"):
        (comfyui / name).touch()
    nodes = [{"id": 1, "type": "CheckpointLoaderSimple", "widgets_values": ["absent.safetensors"]}]
    (workflows / "portrait.json").write_text(json.dumps({"nodes": nodes, "links": [], "version": 0.4}))
    config = installed.home / ".config" / "comfywatchman" / "config.toml"

    installed.run("comfywatchman", "--comfyui", str(comfyui), "setup", "--yes")
    assert str(comfyui) in config.read_text()
    installed.run("comfywatchman", "config", "set", "search.backend_order", "[]")
    installed.run("comfywatchman", "config", "set", "schedule.unknown_gpu", "run")
    installed.run("comfywatchman", "config", "set", "schedule.min_vram_gb", "0")
    installed.run("comfywatchman", "--run-cycle")
    status = json.loads(installed.run("comfywatchman", "status", "--json"))
    report = installed.home / ".local" / "share" / "comfywatchman" / "output" / "reports" / "status"
    assert "absent.safetensors" in (report / "master_status.md").read_text()
    assert status["report"]["comfyui"]["root"] == str(comfyui)
    assert "portrait.json" in installed.run("comfywatchman", "explain", "portrait.json", code=1)
    # Nothing but caches of compiled modules is written beside the program.
    written = {path for path in installed.programs.parent.rglob("*") if path.suffix != ".pyc" and path.is_file()}
    assert written == installed.files
