"""The model folders of one ComfyUI: their names, where they look, and what counts as a model there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.install.extra_paths import ExtraPath, read_extra_paths
from comfywatchman.comfyui.install.install import Installation

CUSTOM_NODES: Final = "custom_nodes"
_NOT_MODEL_FOLDERS: Final = frozenset({CUSTOM_NODES, "datasets", "download_model_base"})
"""Names that an extra_model_paths.yaml may carry though no model is looked for there."""

DIFFUSERS: Final = "diffusers"
FOLDER_EXTENSION: Final = "folder"
"""The extension of `diffusers`: an entry is a folder that holds `model_index.json`."""


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """One kind of models.

    Attributes:
        name: Canonical name (`diffusion_models`).
        directories: Where ComfyUI looks, in its order; the first that has a name wins. Some may not exist.
        extensions: Lower-case suffixes with their dot; empty means every file, `""` a name without a dot.
    """

    name: str
    directories: tuple[Path, ...]
    extensions: frozenset[str]


class _FolderRow(msgspec.Struct, frozen=True):
    """One folder of folder_table.json; `directories` and `output` are relative to the model and output folder."""

    directories: tuple[str, ...] = ()
    extensions: tuple[str, ...] | None = None
    shares: str | None = None
    aliases: tuple[str, ...] = ()
    output: str | None = None


class _FolderTable(msgspec.Struct, frozen=True):
    source: str
    torch_extensions: tuple[str, ...]
    folders: dict[str, _FolderRow]


@cache
def _load_table() -> _FolderTable:
    content = Path(__file__).with_name("folder_table.json").read_bytes()
    return msgspec.json.decode(content, type=_FolderTable)


@cache
def _load_aliases() -> dict[str, str]:
    return {alias: name for name, row in _load_table().folders.items() for alias in row.aliases}


@dataclass(frozen=True, slots=True)
class ModelFolders:
    """All model folders of an installation.

    Attributes:
        models_directory: The folder that `checkpoints`, `loras` and the others are in.
        folders: The folders by canonical name.
        defaults: For each folder that an `is_default` entry names, the directory to write to.
        custom_nodes: Where custom node packs are looked for.
    """

    models_directory: Path
    folders: Mapping[str, ModelFolder]
    defaults: Mapping[str, Path] = field(default_factory=dict)
    custom_nodes: tuple[Path, ...] = ()

    def get_canonical_name(self, name: str) -> str:
        """Return the name that ComfyUI uses today (`unet` is `diffusion_models`, `clip` is `text_encoders`)."""
        return _load_aliases().get(name, name)

    def get(self, name: str) -> ModelFolder | None:
        """Return a folder by its name or alias; None when nobody has named it."""
        return self.folders.get(self.get_canonical_name(name))

    def names(self) -> tuple[str, ...]:
        """Return the canonical names, sorted."""
        return tuple(sorted(self.folders))

    def target_directory(self, name: str) -> Path:
        """Return the directory that a new model of this folder belongs in.

        An `is_default` directory comes first, then the one that carries the folder's own name (the first one of
        `diffusion_models` is the outdated `models/unet`), then the first.

        Raises:
            KeyError: No such folder.
        """
        folder = self.folders[self.get_canonical_name(name)]
        row = _load_table().folders.get(folder.name, _FolderRow())
        owner = row.shares or folder.name
        if owner in self.defaults:
            return self.defaults[owner]
        in_models = (d for d in folder.directories if d.name == owner and d.is_relative_to(self.models_directory))
        return next(in_models, folder.directories[0])

    def with_names(self, names: Iterable[str]) -> ModelFolders:
        """Return these folders and `models/<name>`, every file counting, for each name that is not known yet.

        For the names that an installed pack's source gives; a name that would leave the model folder is passed over.
        """
        added = {
            name: ModelFolder(name, (self.models_directory / name,), frozenset())
            for name in map(self.get_canonical_name, names)
            if name not in self.folders and _stays_inside(name)
        }
        return ModelFolders(self.models_directory, {**self.folders, **added}, self.defaults, self.custom_nodes)


def resolve_folders(installation: Installation) -> tuple[ModelFolders, tuple[Failure, ...]]:
    """Work out every model folder as ComfyUI does at its start.

    Returns:
        The folders, and one `comfyui-config-invalid` for each yaml file on which ComfyUI would refuse to start.
    """
    default_file = installation.root / "extra_model_paths.yaml"
    files = ((default_file,) if os.path.isfile(default_file) else ()) + installation.extra_model_paths
    extra: list[ExtraPath] = []
    problems: list[Failure] = []
    for path in files:
        try:
            extra.extend(read_extra_paths(path))
        except Failure as failure:
            problems.append(failure)
    return _assemble(installation, extra), tuple(problems)


def _assemble(installation: Installation, extra: Iterable[ExtraPath]) -> ModelFolders:
    rows = _load_table().folders
    models = installation.models_directory
    directories = {name: [models / d for d in row.directories] for name, row in rows.items() if row.shares is None}
    directories[CUSTOM_NODES] = [installation.base / CUSTOM_NODES]
    defaults: dict[str, Path] = {}
    for entry in extra:
        name = _load_aliases().get(entry.folder, entry.folder)
        _add_directory(directories.setdefault(name, []), entry.directory, is_default=entry.is_default)
        if entry.is_default:
            defaults[name] = entry.directory
    for name, row in rows.items():
        if row.output is not None:
            _add_directory(directories[name], installation.output_directory / row.output, is_default=False)
        if row.shares is not None:
            directories[name] = directories[row.shares] + directories.get(name, [])
    folders = {
        name: ModelFolder(name, tuple(found), _get_extensions(name))
        for name, found in directories.items()
        if name not in _NOT_MODEL_FOLDERS
    }
    return ModelFolders(models, folders, defaults, tuple(directories[CUSTOM_NODES]))


def _add_directory(directories: list[Path], directory: Path, *, is_default: bool) -> None:
    if directory in directories:
        if not is_default:
            return
        directories.remove(directory)
    directories.insert(0 if is_default else len(directories), directory)


def _get_extensions(name: str) -> frozenset[str]:
    row = _load_table().folders.get(name)
    if row is None:
        return frozenset()
    return frozenset(_load_table().torch_extensions if row.extensions is None else row.extensions)


def _stays_inside(name: str) -> bool:
    parts = name.split("/")
    return all(part not in {"", ".", ".."} and "\0" not in part and "\\" not in part for part in parts)
