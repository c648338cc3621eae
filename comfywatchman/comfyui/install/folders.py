"""Resolve the model folders of a ComfyUI: their names, their directories, and which files count as models."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.files import printable_path
from comfywatchman.base.json_values import decode_json
from comfywatchman.comfyui.install.extra_paths import ExtraPath, read_extra_paths
from comfywatchman.comfyui.install.install import Installation
from comfywatchman.comfyui.install.reachability import describe_obstacle, describe_remedy, explain_unreachable
from comfywatchman.comfyui.install.start_blockers import StartBlocker, check_custom_nodes

CUSTOM_NODES: Final = "custom_nodes"
NOT_MODEL_FOLDERS: Final = frozenset({CUSTOM_NODES, "datasets", "download_model_base"})
"""Folders of ComfyUI's folder_paths that hold no models."""

DIFFUSERS: Final = "diffusers"
FOLDER_EXTENSION: Final = "folder"
"""The extension of `diffusers`: an entry is a folder that holds `model_index.json`."""


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A folder name of ComfyUI (`loras`) with its directories.

    Attributes:
        name: Canonical name (`diffusion_models`).
        directories: The directories in ComfyUI's search order; the first that has a file wins. Some may not exist.
        extensions: Suffixes in lower case with their dot. None at all means every file, `""` a name without a dot.
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
    """The content of folder_table.json.

    `shipped` names the folder inside a pack that the pack registers when it is imported, by model folder.
    """

    source: str
    torch_extensions: tuple[str, ...]
    folders: dict[str, _FolderRow]
    shipped: dict[str, str] = {}


@cache
def _load_table() -> _FolderTable:
    content = Path(__file__).with_name("folder_table.json").read_bytes()
    return decode_json(content, _FolderTable)


@cache
def _load_aliases() -> dict[str, str]:
    aliases: dict[str, str] = {}
    for name, row in _load_table().folders.items():
        aliases.update(dict.fromkeys(row.aliases, name))
    return aliases


def get_canonical_name(name: str) -> str:
    """Return the name that ComfyUI uses today (`unet` is `diffusion_models`, `clip` is `text_encoders`)."""
    return _load_aliases().get(name, name)


@dataclass(frozen=True, slots=True)
class ModelFolders:
    """All model folders of an installation.

    Attributes:
        models_directory: The folder that holds `checkpoints`, `loras` and the others.
        folders: The folders by canonical name.
        defaults: The directory that new models go to, by folder; only for folders with an `is_default` entry.
        custom_nodes: The directories with custom node packs.
        bases: The configured folder that a directory lies in, for each directory of a yaml file, and for
            `models_directory`. It holds something for certain, so when it does not exist its disk is not mounted.
    """

    models_directory: Path
    folders: Mapping[str, ModelFolder]
    defaults: Mapping[str, Path] = field(default_factory=dict)
    custom_nodes: tuple[Path, ...] = ()
    bases: Mapping[Path, Path] = field(default_factory=dict)

    def get(self, name: str) -> ModelFolder | None:
        """Return a folder by its name or alias; None for an unknown name."""
        return self.folders.get(get_canonical_name(name))

    def find_base(self, directory: Path) -> Path | None:
        """Return the configured folder that a directory lies in; None when the directory need not exist."""
        base = self.bases.get(directory)
        if base is None and directory.is_relative_to(self.models_directory):
            base = self.bases.get(self.models_directory)
        return base

    def names(self) -> tuple[str, ...]:
        """Return the canonical names, sorted."""
        return tuple(sorted(self.folders))

    def target_directory(self, name: str) -> Path:
        """Return the directory that a new model of this folder belongs in.

        That is the `is_default` directory, else the one with the folder's own name, else the first.

        Raises:
            KeyError: The folder does not exist.
        """
        folder = self.folders[get_canonical_name(name)]
        row = _load_table().folders.get(folder.name, _FolderRow())
        owner = row.shares or folder.name
        if owner in self.defaults:
            return self.defaults[owner]
        # The first directory may be outdated: that of `diffusion_models` is `models/unet`.
        for directory in folder.directories:
            if directory.name == owner and directory.is_relative_to(self.models_directory):
                return directory
        return folder.directories[0]

    def with_shipped(self, packs: Iterable[tuple[str, Path]]) -> ModelFolders:
        """Return these folders plus those that packs have in their own folder and register when they are imported.

        Args:
            packs: Names of model folders, each with the folder of a pack whose nodes list its files.
        """
        folders = dict(self.folders)
        for name, pack in packs:
            shipped = _load_table().shipped.get(name)
            if shipped is None:
                continue
            directory = pack / shipped
            known = folders.get(name, ModelFolder(name, (), get_extensions(name)))
            if directory not in known.directories:
                folders[name] = replace(known, directories=(*known.directories, directory))
        return replace(self, folders=folders)

    def with_names(self, names: Iterable[str]) -> ModelFolders:
        """Return these folders plus `models/<name>`, where every file counts, for each unknown name.

        The names come from the source of installed packs; one that would leave the model folder is skipped.
        """
        folders = dict(self.folders)
        for name in map(get_canonical_name, names):
            if name not in folders and _stays_inside(name):
                folders[name] = ModelFolder(name, (self.models_directory / name,), frozenset())
        return replace(self, folders=folders)


def resolve_folders(installation: Installation) -> tuple[ModelFolders, tuple[StartBlocker, ...]]:
    """Work out every model folder as ComfyUI does at its start.

    Returns:
        The folders, and the faults of the files that name them on which ComfyUI would exit.
    """
    extra_paths: list[ExtraPath] = []
    blockers: list[StartBlocker] = []
    for path in _list_extra_files(installation):
        result = read_extra_paths(path)
        if isinstance(result, StartBlocker):
            blockers.append(result)
            continue
        blockers += _check_pack_folders(path, result)
        # No folder has a name with a NUL byte. ComfyUI accepts one for models, and finds nothing there.
        extra_paths += [extra_path for extra_path in result if "\0" not in str(extra_path.directory)]
    return _assemble(installation, extra_paths), tuple(blockers)


def find_base_blockers(installation: Installation) -> tuple[StartBlocker, ...]:
    """Return why ComfyUI would exit for its base directory; none when it would not."""
    path = installation.base / CUSTOM_NODES
    problem = check_custom_nodes(path)
    if problem is None:
        return ()
    obstacle = explain_unreachable(str(path))
    fix = "Create the folder, or make it readable." if obstacle is None else describe_remedy(obstacle)
    return (StartBlocker(path, None, f"The folder {problem}", fix),)


def _list_extra_files(installation: Installation) -> Iterator[Path]:
    # ComfyUI looks beside its real main.py, and relative folders start there; anything but a file is ignored.
    default_file = Path(os.path.realpath(installation.root / "main.py")).parent / "extra_model_paths.yaml"
    if os.path.isfile(default_file):
        yield default_file
    yield from installation.extra_model_paths


def _check_pack_folders(path: Path, extra_paths: Iterable[ExtraPath]) -> Iterator[StartBlocker]:
    for extra_path in extra_paths:
        if extra_path.folder != CUSTOM_NODES:
            continue
        problem = check_custom_nodes(extra_path.directory)
        if problem is not None:
            reason = f"'custom_nodes' names {printable_path(extra_path.directory)}, which {problem}"
            obstacle = explain_unreachable(str(extra_path.directory))
            fix = "Correct this line, create the folder, or mount its disk."
            if obstacle is not None:
                fix = describe_obstacle(obstacle)
            yield StartBlocker(path, extra_path.line, reason, fix)


def _assemble(installation: Installation, extra_paths: Iterable[ExtraPath]) -> ModelFolders:
    """Put directories in ComfyUI's order: its own, those of the yaml files, then those below the output folder."""
    directories = _list_base_directories(installation)
    defaults: dict[str, Path] = {}
    bases = {installation.models_directory: installation.models or installation.base}
    for extra_path in extra_paths:
        name = get_canonical_name(extra_path.folder)
        if extra_path.base is not None:
            bases[extra_path.directory] = extra_path.base
        _add_directory(directories.setdefault(name, []), extra_path.directory, is_default=extra_path.is_default)
        if extra_path.is_default:
            defaults[name] = extra_path.directory
    for name, row in _load_table().folders.items():
        if row.output is not None:
            _add_directory(directories[name], installation.output_directory / row.output, is_default=False)
        # Only now, so that the folder also gets what the yaml files added to the one it shares with.
        if row.shares is not None:
            directories[name] = directories[row.shares] + directories.get(name, [])

    folders: dict[str, ModelFolder] = {}
    for name, folder_directories in directories.items():
        if name not in NOT_MODEL_FOLDERS:
            folders[name] = ModelFolder(name, tuple(folder_directories), get_extensions(name))
    return ModelFolders(installation.models_directory, folders, defaults, tuple(directories[CUSTOM_NODES]), bases)


def _list_base_directories(installation: Installation) -> dict[str, list[Path]]:
    directories: dict[str, list[Path]] = {}
    for name, row in _load_table().folders.items():
        if row.shares is None:
            directories[name] = [installation.models_directory / directory for directory in row.directories]
    directories[CUSTOM_NODES] = [installation.base / CUSTOM_NODES]
    return directories


def _add_directory(directories: list[Path], directory: Path, *, is_default: bool) -> None:
    if directory in directories:
        if not is_default:
            return
        directories.remove(directory)
    if is_default:
        directories.insert(0, directory)
    else:
        directories.append(directory)


def get_extensions(name: str) -> frozenset[str]:
    """Return the suffixes of the files that a model folder lists, by canonical name; none means every file."""
    row = _load_table().folders.get(name)
    if row is None:
        return frozenset()
    if row.extensions is None:
        return frozenset(_load_table().torch_extensions)
    return frozenset(row.extensions)


def _stays_inside(name: str) -> bool:
    if "\0" in name or "\\" in name:
        return False
    return {"", ".", ".."}.isdisjoint(name.split("/"))
