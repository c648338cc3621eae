"""Repositories of tiny custom nodes, to clone from this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.base.test_git import git

NODE = """
class {name}:
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    @classmethod
    def INPUT_TYPES(cls):
        return {{"required": {{}}}}
NODE_CLASS_MAPPINGS = {{"{name}": {name}}}
"""


def create_repository(
    folder: Path, *requirements: str, files: Mapping[str, str] | None = None, class_type: str = "Tiny"
) -> Path:
    """Make a repository of a node, and return its folder.

    Args:
        folder: Where it goes; its name is the node's id.
        requirements: Lines of its requirements.txt; no such file without any.
        files: Further files by their path.
        class_type: The node class that it brings.
    """
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    content = {"__init__.py": NODE.format(name=class_type), **(files or {})}
    if requirements:
        content["requirements.txt"] = "".join(f"{line}\n" for line in requirements)
    return commit_files(folder, content)


def commit_files(folder: Path, files: Mapping[str, str]) -> Path:
    """Commit files to a repository, and return its folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "files")
    return folder
