"""Where ComfyUI is on this machine, and which folders it was told to use."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import is_folder, read_regular

_VERSION_LINE: Final = re.compile(r"^__version__\s*=\s*[\"']([^\"'\s]{1,64})[\"']", re.MULTILINE)
_MAX_VERSION_FILE_BYTES: Final = 256 << 10


@dataclass(frozen=True, slots=True)
class Installation:
    """One ComfyUI and the folders it works with.

    Attributes:
        root: The folder that holds `main.py`, as an absolute path.
        version: What it calls itself (`0.33.0`); None when it does not say.
        base: Where `models`, `custom_nodes` and `output` live (`--base-directory`); the root otherwise.
        models: The model folder of `--models-directory`; None means `models` under `base`.
        extra_model_paths: Further files of `--extra-model-paths-config`, in the order given.
        output: The folder of `--output-directory`; None means `output` under `base`.
        input: The folder of `--input-directory`; None means `input` under `base`.
        found_by: Where this place was named (`COMFYUI_ROOT`, `the current folder`); empty when built by hand.
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
        """The folder that results are written to."""
        return self.output or self.base / "output"

    @property
    def input_directory(self) -> Path:
        """The folder that a person's pictures, sounds and videos lie in."""
        return self.input or self.base / "input"

    @property
    def temp_directory(self) -> Path:
        """The folder that ComfyUI empties at each start."""
        return self.base / "temp"


def is_comfyui(folder: Path) -> bool:
    """Say whether a folder holds ComfyUI's own program."""
    has_programs = _is_file(folder / "main.py") and _is_file(folder / "nodes.py")
    return has_programs and (_is_file(folder / "folder_paths.py") or is_folder(folder / "comfy"))


def is_base_directory(folder: Path) -> bool:
    """Say whether a folder looks like what `--base-directory` points at: models and custom nodes, no program."""
    return is_folder(folder / "models") and (is_folder(folder / "custom_nodes") or is_folder(folder / "user"))


def find_installation(candidates: Sequence[tuple[str, Path]], *, explicit: Collection[str] = ()) -> Installation | None:
    """Return the first candidate that is ComfyUI, or that holds one in a folder named `ComfyUI`.

    Args:
        candidates: Label (kept as `found_by`, so that a person is told) and folder, in order of preference.
        explicit: Labels that a person configured; for these a base directory without the program is enough.
    """
    for label, folder in candidates:
        for place in (folder, folder / "ComfyUI"):
            if is_comfyui(place) or (label in explicit and is_base_directory(place)):
                root = place.absolute()
                return Installation(root=root, version=read_version(root), base=root, found_by=label)
    return None


def find_site_packages(root: Path) -> tuple[Path, ...]:
    """Return the package folders of the environments that lie in a ComfyUI folder."""
    return tuple(
        site for name in ("venv", ".venv") for site in sorted((root / name).glob("lib/python3*/site-packages"))
    )


def list_manager_paths(root: Path, custom_nodes: Iterable[Path]) -> tuple[Path, ...]:
    """Return where ComfyUI-Manager may be installed: as a node pack, or as a package; none of them need be there."""
    packs = (folder / name for folder in custom_nodes for name in ("ComfyUI-Manager", "comfyui-manager"))
    return (*packs, *(site / "comfyui_manager" for site in find_site_packages(root)))


def read_version(root: Path) -> str | None:
    """Return the version that a ComfyUI folder states, read as text; nothing is imported."""
    return _read_module_version(root / "comfyui_version.py") or _read_project_version(root / "pyproject.toml")


def _read_module_version(path: Path) -> str | None:
    found = _VERSION_LINE.search(_read_text(path))
    return found.group(1) if found else None


def _read_project_version(path: Path) -> str | None:
    try:
        project = tomllib.loads(_read_text(path)).get("project")
    except (tomllib.TOMLDecodeError, RecursionError):
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
