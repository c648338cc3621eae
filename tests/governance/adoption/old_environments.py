"""An environment as a user of ComfyUI has it: packages of an index, of a URL, of a folder, and of nowhere any more."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

from comfywatchman.governance.uv.client import find_uv
from tests.governance.contexts import Site
from tests.governance.wheels import add_wheel

BACKEND = """\
import pathlib, zipfile

INFO = "editlet-0.1.dist-info"

def _metadata(folder):
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\\nName: editlet\\nVersion: 0.1\\n")
    (folder / "WHEEL").write_text("Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")

def prepare_metadata_for_build_editable(directory, config_settings=None):
    _metadata(pathlib.Path(directory) / INFO)
    return INFO

def build_editable(directory, config_settings=None, metadata_directory=None):
    scratch = pathlib.Path(directory) / "scratch"
    _metadata(scratch / INFO)
    name = "editlet-0.1-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(directory) / name, "w") as archive:
        archive.writestr("editlet.pth", str(pathlib.Path(__file__).parent / "src") + "\\n")
        for path in (scratch / INFO).iterdir():
            archive.write(path, f"{INFO}/{path.name}")
        archive.writestr(f"{INFO}/RECORD", "editlet.pth,,\\n" + f"{INFO}/RECORD,,\\n")
    return name

def build_wheel(directory, config_settings=None, metadata_directory=None):
    raise RuntimeError("only editable")

def get_requires_for_build_editable(config_settings=None):
    return []
"""


def make_environment(site: Site, *packages: str, folder: Path | None = None) -> Path:
    """Install packages from the site's wheels into an environment beside ComfyUI, and return its folder."""
    environment = folder or site.comfyui / "venv"
    run_uv("venv", "--no-project", "--python", sys.executable, str(environment))
    install(environment, "--no-index", "--find-links", str(site.wheels), *packages)
    return environment


def install(environment: Path, *arguments: str) -> None:
    run_uv("pip", "install", "--link-mode", "copy", "--python", str(environment / "bin" / "python"), *arguments)


def run_uv(*arguments: str) -> None:
    subprocess.run([find_uv(), *arguments], check=True, capture_output=True, timeout=120)


def install_lost_wheel(site: Site, environment: Path, name: str, version: str) -> None:
    """Install a package whose wheel no index has afterwards."""
    lost = add_wheel(site.folder / "lost", name, version, scripts={name: f"{name}:__version__.strip"})
    install(environment, "--no-index", "--no-deps", str(lost))
    lost.unlink()
    for info in environment.glob(f"lib/python3*/site-packages/{name}-*.dist-info"):
        # As if it came from an index that no longer exists.
        (info / "direct_url.json").unlink()


def write_editable_project(folder: Path) -> Path:
    """Write the project of a package that is installed in place."""
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "editlet.py").write_text("__version__ = '0.1'\n")
    (folder / "backend.py").write_text(BACKEND)
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n\n'
        '[project]\nname = "editlet"\nversion = "0.1"\n'
    )
    return folder


def write_pack(site: Site, name: str, requirements: str = "", imports: str = "") -> None:
    folder = site.comfyui / "custom_nodes" / name
    folder.mkdir()
    (folder / "__init__.py").write_text(f"{imports}\nNODE_CLASS_MAPPINGS = {{}}\n")
    if requirements:
        (folder / "requirements.txt").write_text(requirements)


def hash_folder(folder: Path) -> str:
    """Return a hash of names, links and contents of everything in a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        content = str(path.readlink()) if path.is_symlink() else path.read_bytes().hex() if path.is_file() else ""
        digest.update(json.dumps([str(path.relative_to(folder)), content]).encode())
    return digest.hexdigest()
