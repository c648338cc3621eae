"""A small ComfyUI with git, custom nodes, a Python environment and a model, for tests of versions."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from comfywatchman.versions.collect import CollectTools, EnvironmentPlace, ModelInUse, VersionState
from comfywatchman.versions.lockfile import LockedWorkflow
from comfywatchman.versions.verify import InstalledState

GIT = ("git", "-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "protocol.file.allow=always")


def git(folder: Path, *arguments: str) -> str:
    variables = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "PATH": os.environ["PATH"]}
    result = subprocess.run([*GIT, *arguments], cwd=folder, env=variables, check=True, capture_output=True, text=True)
    return result.stdout.strip()


def commit_all(folder: Path, *, origin: str | None = None) -> None:
    git(folder, "init", "-q", "-b", "main")
    if origin is not None:
        git(folder, "remote", "add", "origin", origin)
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")


def install_package(site: Path, name: str, version: str, *, content: str = "X = 1\n") -> None:
    folder = site / f"{name}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (folder / "RECORD").write_text(f"{name}.py,sha256={sha256(content.encode()).hexdigest()},1\n")
    (site / f"{name}.py").write_text(content)


def hash_file(path: Path) -> tuple[int, str]:
    content = path.read_bytes()
    return len(content), sha256(content).hexdigest()


@dataclass
class VersionHost:
    """A ComfyUI whose version is to be recorded."""

    root: Path
    site: Path

    @property
    def custom_nodes(self) -> Path:
        return self.root / "custom_nodes"

    @property
    def model(self) -> Path:
        return self.root / "models" / "vae" / "sub" / "a.safetensors"

    def state(self, *, status: str = "READY", sources: tuple[str, ...] = ("https://example.org/a",)) -> VersionState:
        return VersionState(
            comfyui=self.root,
            comfyui_version="0.3.75",
            custom_nodes=self.custom_nodes,
            environment=EnvironmentPlace(self.root / ".venv" / "bin" / "python", (self.site,)),
            models=(ModelInUse(self.model, "vae/sub/a.safetensors", sources, ("flow.json",)),),
            workflows=(LockedWorkflow(path="flow.json", sha256="f" * 64, status=status),),
        )

    def tools(self) -> CollectTools:
        return CollectTools(hash_file, lambda packages: {one.name: ("a" * 64,) for one in packages}, lambda _text: None)

    def installed(self) -> InstalledState:
        def find_model(path: str) -> Path | None:
            place = self.root / "models" / path
            return place if place.exists() else None

        python = self.root / ".venv" / "bin" / "python"
        return InstalledState(self.root, self.custom_nodes, python, (self.site,), self.root / "models", find_model)


def make_host(folder: Path) -> VersionHost:
    root = folder / "ComfyUI"
    (root / "custom_nodes").mkdir(parents=True)
    (root / "main.py").write_text("print('ComfyUI')\n")
    (root / ".gitignore").write_text("/models/\n/.venv/\n/custom_nodes/\n!/custom_nodes/example.py\n")
    (root / "custom_nodes" / "example.py").write_text("NODE_CLASS_MAPPINGS = {}\n")
    git(root, "init", "-q", "-b", "main")
    git(root, "remote", "add", "origin", "https://example.org/ComfyUI.git")
    git(root, "add", "-f", ".gitignore", "main.py", "custom_nodes/example.py")
    git(root, "commit", "-q", "-m", "first")
    pack = root / "custom_nodes" / "pack"
    pack.mkdir()
    (pack / "__init__.py").write_text("NODE_CLASS_MAPPINGS = {}\n")
    commit_all(pack, origin="https://example.org/pack.git")
    site = root / ".venv" / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    install_package(site, "torch", "2.9.0+cpu")
    install_package(site, "tiny", "1.0")
    (root / ".venv" / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).parent}\nversion = 3.11.7\n")
    (root / ".venv" / "bin").mkdir()
    (root / ".venv" / "bin" / "python").symlink_to(sys.executable)
    host = VersionHost(root, site)
    host.model.parent.mkdir(parents=True)
    host.model.write_bytes(b"weights")
    return host
