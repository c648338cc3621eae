"""Find ComfyUI on this machine, and the folders it is configured to use."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import is_folder, read_regular
from comfywatchman.base.parsing.toml_text import parse_toml

_VERSION_LINE: Final = re.compile(r"^__version__\s*=\s*[\"']([^\"'\s]{1,64})[\"']", re.MULTILINE)
_MAX_VERSION_FILE_BYTES: Final = 256 << 10


@dataclass(frozen=True, slots=True)
class Installation:
    """A ComfyUI and its folders.

    Attributes:
        root: The folder that holds `main.py`, as an absolute path.
        version: Its version (`0.33.0`); None when its files do not state one.
        base: The folder with `models`, `custom_nodes` and `output` (`--base-directory`); the root otherwise.
        models: The model folder of `--models-directory`; None means `models` under `base`.
        extra_model_paths: Further files of `--extra-model-paths-config`, in the order given.
        output: The folder of `--output-directory`; None means `output` under `base`.
        input: The folder of `--input-directory`; None means `input` under `base`.
        found_by: What named this folder (`COMFYUI_ROOT`, `the current folder`); may be empty.
    """

    root: Path
    version: str | None
    base: Path
    models: Path | None = None
    extra_model_paths: tuple[Path, ...] = ()
    output: Path | None = None
    input: Path | None = None
    found_by: str = ""

    @property
    def models_directory(self) -> Path:
        """The folder that holds `checkpoints`, `loras` and the others."""
        return self.models or self.base / "models"

    @property
    def output_directory(self) -> Path:
        """The folder for results."""
        return self.output or self.base / "output"

    @property
    def input_directory(self) -> Path:
        """The folder for the user's pictures, sounds and videos."""
        return self.input or self.base / "input"

    @property
    def temp_directory(self) -> Path:
        """The folder that ComfyUI empties at each start."""
        return self.base / "temp"


def is_comfyui(folder: Path) -> bool:
    """Return whether a folder holds ComfyUI's source."""
    if not _is_file(folder / "main.py") or not _is_file(folder / "nodes.py"):
        return False
    return _is_file(folder / "folder_paths.py") or is_folder(folder / "comfy")


def is_base_directory(folder: Path) -> bool:
    """Return whether a folder may be one for `--base-directory`: with models and custom nodes, without source."""
    return is_folder(folder / "models") and (is_folder(folder / "custom_nodes") or is_folder(folder / "user"))


def find_installation(candidates: Sequence[tuple[str, Path]], *, explicit: Collection[str] = ()) -> Installation | None:
    """Return the first candidate that is ComfyUI, or that holds one in a folder named `ComfyUI`.

    Args:
        candidates: Label (becomes `found_by`) and folder, in order of preference.
        explicit: Labels that the user configured; for these a base directory without the source is enough.
    """
    for label, parent in candidates:
        for folder in (parent, parent / "ComfyUI"):
            if is_comfyui(folder) or (label in explicit and is_base_directory(folder)):
                root = folder.absolute()
                return Installation(root=root, version=read_version(root), base=root, found_by=label)
    return None


def find_site_packages(root: Path) -> tuple[Path, ...]:
    """Return the `site-packages` of the virtual environments in a ComfyUI folder."""
    folders: list[Path] = []
    for name in ("venv", ".venv"):
        folders.extend(sorted((root / name).glob("lib/python3*/site-packages")))
    return tuple(folders)


def list_manager_paths(root: Path, custom_nodes: Iterable[Path]) -> tuple[Path, ...]:
    """Return the paths that ComfyUI-Manager may have, as a node pack and as a package; none of them need exist."""
    paths: list[Path] = []
    for folder in custom_nodes:
        paths += [folder / "ComfyUI-Manager", folder / "comfyui-manager"]
    paths += [folder / "comfyui_manager" for folder in find_site_packages(root)]
    return tuple(paths)


def read_version(root: Path) -> str | None:
    """Return the version that a ComfyUI folder states. Its files are read as text, never imported."""
    return _read_module_version(root / "comfyui_version.py") or _read_project_version(root / "pyproject.toml")


def _read_module_version(path: Path) -> str | None:
    match = _VERSION_LINE.search(_read_text(path))
    return match.group(1) if match else None


def _read_project_version(path: Path) -> str | None:
    try:
        project = parse_toml(_read_text(path)).get("project")
    except tomllib.TOMLDecodeError:
        return None
    version = project.get("version") if isinstance(project, dict) else None
    return version if isinstance(version, str) else None


def _read_text(path: Path) -> str:
    try:
        return read_regular(path, max_bytes=_MAX_VERSION_FILE_BYTES).decode("utf-8", "replace")
    except Failure:
        return ""


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False
