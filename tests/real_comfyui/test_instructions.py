"""The commands of docs/instructions.md with the code of a real ComfyUI."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from scripts.real_comfyui import Installed
from tests.cli.version.repositories import ComfyUISource
from tests.docs.test_instructions import read_commands, run_instructions
from tests.governance.wheels import add_wheel
from tests.versions.hosts import git

pytestmark = [pytest.mark.real_comfyui, pytest.mark.slow, pytest.mark.timeout(900)]


def make_real_source(installed: Installed, folder: Path) -> ComfyUISource:
    """Make a repository of the real code; what it requires is one wheel that leads to its packages."""
    repository, wheels = folder / "repository", folder / "wheels"
    ignored = shutil.ignore_patterns("__pycache__", ".git", "custom_nodes", "output", "user", "temp")
    shutil.copytree(installed.tree, repository, ignore=ignored)
    (repository / "custom_nodes").mkdir()
    (repository / "custom_nodes" / "example_node.py.example").touch()
    (repository / "requirements.txt").write_text("comfybase==1.0\ntorch\n")
    git(repository, "init", "-q", "-b", "main")
    git(repository, "add", "--force", ".")
    git(repository, "commit", "-q", "-m", "first")
    git(repository, "tag", "v1")
    packages = next(installed.python.parents[1].glob("lib/python3*/site-packages"))
    files = {
        "comfybase.pth": f"import site; site.addsitedir({str(packages)!r})\n",
        "comfyui_frontend_package/__init__.py": "",
        "comfyui_frontend_package/static/index.html": "<html></html>",
    }
    add_wheel(wheels, "comfybase", "1.0", files=files)
    # Its metadata says that torch is installed; the real one is behind the link.
    wheel = add_wheel(wheels, "torch", "2.9.0")
    remove_modules(wheel)
    return ComfyUISource(repository, wheels)


def remove_modules(wheel: Path) -> None:
    """Leave only the metadata in a wheel, so that it hides no module of the same name."""
    import zipfile

    with zipfile.ZipFile(wheel) as archive:
        entries = {name: archive.read(name) for name in archive.namelist() if ".dist-info/" in name}
    record = next(name for name in entries if name.endswith("/RECORD"))
    lines = [line for line in entries[record].decode().splitlines() if ".dist-info/" in line]
    entries[record] = "".join(f"{line}\n" for line in lines).encode()
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def test_instructions_work_with_a_real_comfyui(real_comfyui_installed: Installed, tmp_path: Path) -> None:
    source = make_real_source(real_comfyui_installed, tmp_path)
    # What follows, the build without a network, differs in nothing that ComfyUI's code could matter to.
    home = run_instructions(tmp_path, source, read_commands("instructions.md", until="## 7."))
    (picture,) = (home / "lockfiles" / "comfy-first.outputs" / "reference.json").glob("*.png")
    with Image.open(picture) as image:
        assert (image.size, image.getpixel((0, 0))) == ((64, 64), (204, 102, 0))
