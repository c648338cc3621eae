"""A ComfyUI with git and an environment, and a version of it that can be cloned."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from click.testing import Result

from comfywatchman.governance.uv.client import find_uv
from tests.cli.version.sdists import add_source_archive
from tests.governance.wheels import add_wheel
from tests.hosts import Host
from tests.versions.hosts import commit_all

MAIN = """
import sys
import tiny
assert "--quick-test-for-ci" in sys.argv
"""


@dataclass
class ClonableHost:
    host: Host
    venv: Path
    wheels: Path

    def create(self) -> Result:
        options = ("--offline", "--venv", str(self.venv), "--workflow", str(self.host.workflows))
        return self.host.invoke("version", "create", "first", *options)

    def clone(self, target: Path, *options: str) -> Result:
        return self.host.invoke(*self.clone_arguments(target), *options)

    def clone_arguments(self, target: Path) -> list[str]:
        sources = ["--offline", "--find-links", str(self.wheels), "--allow-local", "--python", sys.executable]
        return ["version", "clone", "first", str(target), *sources]


def make_clonable(tmp_path: Path, *, with_source_archive: bool = False) -> ClonableHost:
    """Make a host with its repository, an environment with one package, and the version `first` of it.

    Args:
        tmp_path: The folder for all of it.
        with_source_archive: Whether a package that has no wheel is installed too.
    """
    host = Host(tmp_path)
    host.write("good.json")
    (host.comfyui / "main.py").write_text(MAIN)
    (host.comfyui / ".gitignore").write_text("/.venv/\n/models/\n/user/\n/custom_nodes/\n")
    commit_all(host.comfyui, origin=str(host.comfyui))
    wheels, venv = tmp_path / "wheels", tmp_path / "venv"
    add_wheel(wheels, "tiny", "1.0", scripts={"tiny-tool": "tiny:main"})
    uv = [str(find_uv()), "--no-config", "--offline"]
    subprocess.run([*uv, "venv", "-q", "--python", sys.executable, str(venv)], check=True)
    python = str(venv / "bin" / "python")
    packages = ["tiny"]
    if with_source_archive:
        add_source_archive(wheels)
        packages.append("handmade")
    options = ["-q", "--no-index", "--find-links", str(wheels), "--python", python]
    subprocess.run([*uv, "pip", "install", *options, *packages], check=True)
    clonable = ClonableHost(host, venv, wheels)
    assert clonable.create().exit_code == 0
    return clonable
