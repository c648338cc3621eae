"""A builder of clones, for tests."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from comfywatchman.base.errors import Failure
from comfywatchman.versions.clone import CloneTools
from comfywatchman.versions.lockfile import LockedCode, LockedModel, LockedPackage, LockedPython
from comfywatchman.versions.place import ClonePlace
from tests.versions.hosts import VersionHost, git, hash_file, install_package


@dataclass
class Builder:
    """Builds the parts of a clone: code by git, packages as fake installations, models by copying."""

    host: VersionHost
    calls: list[str] = field(default_factory=list)
    fails_at: str = ""
    nodes: Path | None = None

    def _begin(self, step: str) -> None:
        self.calls.append(step)
        if step == self.fails_at:
            raise Failure("child-failed", f"{step} was interrupted.")

    def clone_code(self, code: LockedCode, folder: Path) -> None:
        source = self.host.root if code.name == "ComfyUI" else (self.nodes or self.host.custom_nodes) / code.name
        folder.parent.mkdir(parents=True, exist_ok=True)
        git(folder.parent, "clone", "-q", str(source), str(folder))
        git(folder, "remote", "set-url", "origin", code.repo or "")
        self._begin(f"code {code.name}")

    def make_environment(self, _python: LockedPython, folder: Path) -> None:
        self._begin("environment")
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "python").symlink_to(sys.executable)

    def install_packages(self, environment: Path, packages: Sequence[LockedPackage]) -> None:
        self._begin("packages")
        shutil.rmtree(environment / "site", ignore_errors=True)
        for package in packages:
            install_package(environment / "site", package.name, package.version)

    def place_model(self, model: LockedModel, path: Path) -> None:
        self._begin("model")
        shutil.copy(self.host.root / "models" / model.path, path)

    def start(self, place: ClonePlace) -> None:
        self._begin("start")
        assert (place.comfyui / "main.py").exists()

    def tools(self, **changes: object) -> CloneTools:
        tools = CloneTools(
            clone_code=self.clone_code,
            make_environment=self.make_environment,
            install_packages=self.install_packages,
            list_paths=lambda environment: (environment / "site",),
            place_model=self.place_model,
            hash_file=hash_file,
            start=self.start,
            progress=lambda _text: None,
        )
        return replace(tools, **changes)  # type: ignore[arg-type]
