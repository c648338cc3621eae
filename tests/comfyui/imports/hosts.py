"""Small hosts: a ComfyUI, a Python environment and node packs, written as files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent

from comfywatchman.comfyui.imports.checker import ImportChecker
from comfywatchman.comfyui.imports.core_modules import CoreModules
from comfywatchman.comfyui.imports.environment import PythonEnvironment, read_environment
from comfywatchman.comfyui.imports.host import ImportHost, PackEffects
from comfywatchman.comfyui.imports.problems import ImportProblem
from comfywatchman.comfyui.packs.definitions import NodeDefinitions, read_pack_definitions
from comfywatchman.comfyui.static_analysis.module_names import ModuleNames, read_module_names
from comfywatchman.comfyui.static_analysis.modules import parse_source

CORE: Mapping[str, str] = {
    "main.py": "import nodes",
    "nodes.py": "import folder_paths\nNODE_CLASS_MAPPINGS = {}",
    "folder_paths.py": "base_path = ''\ndef get_filename_list(folder): return []",
    "comfyui_version.py": '__version__ = "0.3.75"',
    "comfy/samplers.py": "import comfy.utils\nfrom .sample import *\nclass KSampler: pass",
    "comfy/sample.py": "__all__ = ['prepare_noise']\ndef prepare_noise(): pass\ndef fix_empty(): pass",
    "comfy/utils.py": "from math import *\nPROGRESS = None",
    "comfy/ops.py": "def __getattr__(name): return None",
    "comfy/native.cpython-311.so": "",
    "comfy_api/latest/__init__.py": "from . import _io as io\nIO = io",
    "comfy_api/latest/_io.py": "class Schema: pass\nclass Int: pass",
    "utils/__init__.py": "",
    "utils/extra_config.py": "import yaml",
}
"""A ComfyUI that is as small as possible. `comfy` has no `__init__.py`, as in the real one."""


def write_files(folder: Path, files: Mapping[str, str]) -> Path:
    """Write files below a folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), "utf-8")
    return folder


def write_environment(folder: Path, files: Mapping[str, str], *, python: str = "3.11.7", system: bool = False) -> Path:
    """Write a virtual environment with some files in its `site-packages`."""
    minor = python.split(".")[1]
    packages = folder / "lib" / f"python3.{minor}" / "site-packages"
    packages.mkdir(parents=True)
    settings = f"home = {folder.parent}/python/bin\ninclude-system-site-packages = {str(system).lower()}\n"
    (folder / "pyvenv.cfg").write_text(f"{settings}version = {python}\n")
    write_files(packages, {"torch/__init__.py": "", **files})
    return folder


def read_core_names(path: Path, root: Path) -> ModuleNames:
    """Return the names that a module of ComfyUI binds."""
    content = path.read_bytes()
    return read_module_names(parse_source(content), content, path.relative_to(root).parts[:-1], prefix="")


def build_core(folder: Path, files: Mapping[str, str] = CORE) -> CoreModules:
    """Write the source of a ComfyUI."""
    write_files(folder, files)
    return CoreModules(folder, lambda path: read_core_names(path, folder))


@dataclass
class ImportCase:
    """A pack on a host.

    Attributes:
        folder: An empty folder.
        pack: Its files.
        environment: The files in `site-packages`; None when the environment is not known.
        core: The files of ComfyUI; None without its source.
        python: Version of ComfyUI's Python.
        effects: What other packs may provide.
    """

    folder: Path
    pack: Mapping[str, str]
    environment: Mapping[str, str] | None = field(default_factory=dict)
    core: Mapping[str, str] | None = field(default_factory=lambda: CORE)
    python: str = "3.11.7"
    effects: PackEffects = field(default_factory=PackEffects)

    def __post_init__(self) -> None:
        root = write_files(self.folder / "custom_nodes" / "pack", self.pack)
        sources = [str(path.relative_to(root)) for path in sorted(root.rglob("*.py"))]
        self.definitions: NodeDefinitions = read_pack_definitions(root, sources, label="pack")
        core = None if self.core is None else build_core(self.folder / "ComfyUI", self.core)
        environments: list[PythonEnvironment] = []
        if self.environment is not None:
            folder = write_environment(self.folder / "venv", self.environment, python=self.python)
            environment = read_environment(folder)
            assert environment is not None
            environments.append(environment)
        host = ImportHost(core, "0.3.75", environments, self.effects)
        self.checker = ImportChecker(self.definitions.outline, host, sources, root)

    @property
    def problem(self) -> ImportProblem | None:
        """What keeps the pack from being imported."""
        return self.checker.check_pack()

    @property
    def verdict(self) -> str:
        """`ok`, `fails` or `may fail`."""
        return judge(self.problem)

    def class_verdict(self, class_type: str) -> str:
        """Return the same for a class; the pack's own problem counts, too."""
        problem = self.problem
        if problem is not None and problem.is_certain:
            return "fails"
        return judge(self.checker.check_class(class_type) or problem)


def judge(problem: ImportProblem | None) -> str:
    """Return a problem as one word."""
    if problem is None:
        return "ok"
    return "fails" if problem.is_certain else "may fail"
