"""A source archive that builds without any other package: its build backend is part of it."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

_BACKEND = """
import base64, hashlib, zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    files = {
        "handmade.py": "VALUE = 1\\n",
        "handmade-1.0.dist-info/METADATA": "Metadata-Version: 2.1\\nName: handmade\\nVersion: 1.0\\n",
        "handmade-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }
    rows = []
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        rows.append(f"{name},sha256={digest},{len(text)}")
    files["handmade-1.0.dist-info/RECORD"] = "\\n".join([*rows, "handmade-1.0.dist-info/RECORD,,", ""])
    name = "handmade-1.0-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(zipfile.ZipInfo(path), text)
    return name
"""
_PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "handmade"
version = "1.0"
"""


def add_source_archive(folder: Path) -> Path:
    """Write `handmade-1.0.tar.gz` into a folder of packages and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "handmade-1.0.tar.gz"
    files = {
        "backend.py": _BACKEND,
        "pyproject.toml": _PROJECT,
        "PKG-INFO": "Metadata-Version: 2.1\nName: handmade\nVersion: 1.0\n",
    }
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"handmade-1.0/{name}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return path
