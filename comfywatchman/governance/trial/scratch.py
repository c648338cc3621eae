"""The base directory of a trial: links to the nodes, empty folders, and marker files in the model folders.

An input of a node class that lists a marker file lists the model folder that the file is in.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from comfywatchman.comfyui.install.folders import FOLDER_EXTENSION, resolve_folders
from comfywatchman.comfyui.install.install import Installation

EMPTY_SAFETENSORS: Final = b"\x02\x00\x00\x00\x00\x00\x00\x00{}"
"""A valid safetensors file without tensors: nodes that open every model they list must not fail on it."""

_FOLDERS: Final = ("custom_nodes", "input", "output", "models", "user")
_COMMON_SUFFIXES: Final = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".onnx", ".gguf")


@dataclass(frozen=True, slots=True)
class ModelMarker:
    """A marker file: its name, its directory, and its suffix (or `FOLDER_EXTENSION` for a diffusers folder)."""

    name: str
    directory: Path
    suffix: str


@dataclass(slots=True)
class ModelMarkers:
    """The marker files of a base directory.

    Attributes:
        base: The base directory; nothing is written outside of it.
    """

    base: Path
    _by_name: dict[str, ModelMarker] = field(default_factory=dict)

    def add(self, folders: Mapping[str, Sequence[Path]]) -> None:
        """Write marker files into the directories of model folders; those outside of the base directory get none.

        Args:
            folders: Directories by model folder key.
        """
        existing = {(marker.directory, marker.suffix) for marker in self._by_name.values()}
        for directory, suffix in sorted(self._list_targets(folders) - existing):
            name = f"watchman-{len(self._by_name):04}"
            if suffix != FOLDER_EXTENSION:
                name = f"{name}{suffix}"
            marker = ModelMarker(name, directory, suffix)
            _write_marker(marker)
            self._by_name[name] = marker

    def names(self, folders: Mapping[str, Sequence[Path]]) -> dict[str, frozenset[str]]:
        """Return the marker files that each model folder lists, as far as its extensions are known."""
        extensions_by_key = _find_extensions(self.base)
        names = {}
        for key, directories in folders.items():
            extensions = extensions_by_key.get(key, frozenset())
            names[key] = frozenset(
                marker.name
                for marker in self._by_name.values()
                if marker.directory in directories and (not extensions or marker.suffix in extensions)
            )
        return names

    def _list_targets(self, folders: Mapping[str, Sequence[Path]]) -> set[tuple[Path, str]]:
        extensions_by_key = _find_extensions(self.base)
        wanted = set()
        for key, directories in folders.items():
            suffixes = _choose_suffixes(extensions_by_key.get(key, frozenset()))
            for directory in directories:
                # A pack may register a folder of its own anywhere on the disk.
                if directory.is_relative_to(self.base):
                    wanted |= {(directory, suffix) for suffix in suffixes}
        return wanted


def create_base_directory(base: Path, nodes: Mapping[str, Path]) -> ModelMarkers:
    """Create a base directory with links to nodes, and marker files in every known model folder."""
    shutil.rmtree(base, ignore_errors=True)
    for name in _FOLDERS:
        (base / name).mkdir(parents=True)
    for node_id, folder in nodes.items():
        (base / "custom_nodes" / node_id).symlink_to(folder.resolve(), target_is_directory=True)
    markers = ModelMarkers(base)
    markers.add(find_known_folders(base))
    return markers


def find_known_folders(base: Path) -> dict[str, tuple[Path, ...]]:
    """Return the model folders that ComfyUI and well-known packs have in a base directory, without its output."""
    folders, _problems = resolve_folders(Installation(root=base, version=None, base=base))
    output = base / "output"
    return {
        key: tuple(directory for directory in folder.directories if not directory.is_relative_to(output))
        for key, folder in folders.folders.items()
    }


def find_pack_directories(
    base: Path, keys: Iterable[str], folders: Mapping[str, Sequence[Path]]
) -> dict[str, tuple[str, ...]]:
    """Return the directories of model folders that only packs have, relative to `models/`.

    Folders with a directory elsewhere are left out.

    Args:
        base: The base directory.
        keys: The model folders to look at.
        folders: Directories by model folder key.
    """
    known = find_known_folders(base)
    models = base / "models"
    pack_directories = {}
    for key in sorted(keys):
        if key not in known and all(directory.is_relative_to(models) for directory in folders[key]):
            pack_directories[key] = tuple(str(directory.relative_to(models)) for directory in folders[key])
    return pack_directories


def _find_extensions(base: Path) -> dict[str, frozenset[str]]:
    folders, _problems = resolve_folders(Installation(root=base, version=None, base=base))
    return {key: folder.extensions for key, folder in folders.folders.items()}


def _choose_suffixes(extensions: Iterable[str]) -> tuple[str, ...]:
    """Return the suffixes of a folder's marker files: a common one of its extensions, or all when none is known."""
    listed = sorted(extensions)
    if not listed:
        return _COMMON_SUFFIXES
    common = [suffix for suffix in _COMMON_SUFFIXES if suffix in listed]
    return tuple(common[:1] or listed[:1])


def _write_marker(marker: ModelMarker) -> None:
    path = marker.directory / marker.name
    if marker.suffix == FOLDER_EXTENSION:
        path.mkdir(parents=True, exist_ok=True)
        (path / "model_index.json").write_bytes(b"{}")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    is_safetensors = marker.suffix in {".safetensors", ".sft"}
    path.write_bytes(EMPTY_SAFETENSORS if is_safetensors else b"")
