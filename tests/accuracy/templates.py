"""The official workflow templates, as their PyPI package installs them."""

from __future__ import annotations

from functools import cache
from importlib.metadata import distribution
from pathlib import Path

PACKAGE = "comfyui-workflow-templates-json"


@cache
def template_files() -> dict[str, bytes]:
    """Give the content of every workflow template by file name; index and schema files are left out."""
    installed = distribution(PACKAGE)
    paths = [Path(str(installed.locate_file(path))) for path in installed.files or ()]
    found = [path for path in paths if path.parent.name == "templates" and path.suffix == ".json"]
    return {path.name: path.read_bytes() for path in sorted(found) if not path.name.startswith(("index", "fuse_"))}
