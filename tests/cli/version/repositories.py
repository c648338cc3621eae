"""A git repository that stands for ComfyUI's, and a folder of wheels that stands for the package index."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from comfywatchman.readiness.sample.host import build_program_files
from tests.governance.wheels import add_wheel
from tests.model_files import put
from tests.versions.hosts import commit_all, git

MAIN = """
import sys
import tiny
assert "--quick-test-for-ci" in sys.argv
assert tiny.__version__ == "1.0"
"""


@dataclass
class ComfyUISource:
    """The places that `version init` installs from.

    Attributes:
        repository: ComfyUI's repository, with the tag `v1`.
        wheels: The packages that it requires.
    """

    repository: Path
    wheels: Path

    def options(self) -> list[str]:
        return ["--repo", str(self.repository), "--allow-local", "--offline", "--find-links", str(self.wheels)]


def make_source(folder: Path, main: str = MAIN) -> ComfyUISource:
    repository, wheels = folder / "repository", folder / "wheels"
    for name, content in build_program_files().items():
        put(repository / name, content)
    (repository / "main.py").write_text(main)
    (repository / "requirements.txt").write_text("tiny\ntorch\n")
    put(repository / "custom_nodes" / "example_node.py.example", b"")
    ignored = ("/.venv/", "/models/", "/user/", "/custom_nodes/*", "!/custom_nodes/example_node.py.example")
    (repository / ".gitignore").write_text("".join(f"{line}\n" for line in ignored))
    commit_all(repository)
    git(repository, "tag", "v1")
    add_wheel(wheels, "tiny", "1.0")
    add_wheel(wheels, "torch", "2.9.0")
    return ComfyUISource(repository, wheels)
