"""The base directory of a trial: links to the nodes, empty folders, and marked models in the model folders."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from comfywatchman.comfyui.install.folders import FOLDER_EXTENSION, resolve_folders
from comfywatchman.comfyui.install.install import Installation

EMPTY_SAFETENSORS: Final = b"\x02\x00\x00\x00\x00\x00\x00\x00{}"
"""A safetensors file without a tensor: a node that looks into every model it lists does not stumble over it."""

_FOLDERS: Final = ("custom_nodes", "input", "output", "models", "user")
_COMMON_SUFFIXES: Final = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".onnx", ".gguf")
_NO_MODELS: Final = frozenset({"custom_nodes", "datasets", "download_model_base"})


@dataclass(frozen=True, slots=True)
class ModelMarker:
    """A model file that is there to be recognised in a node's list."""

    name: str
    directory: Path
    suffix: str


@dataclass(slots=True)
class ModelMarkers:
    """The marked models of a base directory.

    Args:
        base: The base directory; nothing is ever written outside of it.
    """

    base: Path
    _by_name: dict[str, ModelMarker] = field(default_factory=dict)

    def add(self, folders: Mapping[str, Sequence[Path]]) -> bool:
        """Mark the directories of model folders, those outside of the base directory left out.

        Args:
            folders: Directories by model folder key.

        Returns:
            Whether there was anything to add.
        """
        there = {(mark.directory, mark.suffix) for mark in self._by_name.values()}
        missing = [place for place in self._wanted(folders) if place not in there]
        for directory, suffix in missing:
            mark = ModelMarker(
                f"watchman-{len(self._by_name):04}{'' if suffix == FOLDER_EXTENSION else suffix}", directory, suffix
            )
            _write_marker(mark)
            self._by_name[mark.name] = mark
        return bool(missing)

    def names(self, folders: Mapping[str, Sequence[Path]]) -> dict[str, frozenset[str]]:
        """Return which marks each model folder lists, as far as its extensions are known."""
        known = _find_extensions(self.base)
        return {
            key: frozenset(
                mark.name
                for mark in self._by_name.values()
                if mark.directory in directories and (not known.get(key) or mark.suffix in known[key])
            )
            for key, directories in folders.items()
        }

    def _wanted(self, folders: Mapping[str, Sequence[Path]]) -> Iterator[tuple[Path, str]]:
        known = _find_extensions(self.base)
        wanted = {
            (directory, suffix)
            for key, directories in folders.items()
            for directory in directories
            if directory.is_relative_to(self.base)
            for suffix in _choose_suffixes(known.get(key, frozenset()))
        }
        yield from sorted(wanted)


def create_base_directory(base: Path, nodes: Mapping[str, Path]) -> ModelMarkers:
    """Make a base directory with links to nodes, and marks in every model folder that is known beforehand."""
    shutil.rmtree(base, ignore_errors=True)
    for name in _FOLDERS:
        (base / name).mkdir(parents=True)
    for node_id, folder in nodes.items():
        (base / "custom_nodes" / node_id).symlink_to(folder.resolve(), target_is_directory=True)
    marks = ModelMarkers(base)
    marks.add(find_known_folders(base))
    return marks


def find_known_folders(base: Path) -> dict[str, tuple[Path, ...]]:
    """Return the model folders of a base directory that ComfyUI and well-known packs have, without its output."""
    folders, _ = resolve_folders(Installation(root=base, version=None, base=base))
    return {
        name: tuple(place for place in folder.directories if not place.is_relative_to(base / "output"))
        for name, folder in folders.folders.items()
    }


def parse_folder_paths(answer: object) -> dict[str, tuple[Path, ...]]:
    """Return the model folders that a server's `/internal/folder_paths` names; none for an answer of another shape."""
    if not isinstance(answer, dict):
        return {}
    return {
        key: tuple(Path(place) for place in places if isinstance(place, str))
        for key, places in answer.items()
        if isinstance(key, str) and isinstance(places, list) and key not in _NO_MODELS
    }


def find_pack_directories(
    base: Path, keys: Iterable[str], folders: Mapping[str, Sequence[Path]]
) -> dict[str, tuple[str, ...]]:
    """Return the directories of folders that only packs have, relative to the model folder; others are left out."""
    known, models = find_known_folders(base), base / "models"
    return {
        key: tuple(str(place.relative_to(models)) for place in folders[key])
        for key in sorted(keys)
        if key not in known and all(place.is_relative_to(models) for place in folders[key])
    }


def _find_extensions(base: Path) -> dict[str, frozenset[str]]:
    folders, _ = resolve_folders(Installation(root=base, version=None, base=base))
    return {name: folder.extensions for name, folder in folders.folders.items()}


def _choose_suffixes(extensions: Iterable[str]) -> tuple[str, ...]:
    """Return with which suffixes a folder is marked: two usual ones at most, or all where nothing is known."""
    listed = sorted(extensions)
    if not listed:
        return _COMMON_SUFFIXES
    usual = [suffix for suffix in _COMMON_SUFFIXES if suffix in listed]
    return tuple(usual[:1] or listed[:1])


def _write_marker(mark: ModelMarker) -> None:
    path = mark.directory / mark.name
    if mark.suffix == FOLDER_EXTENSION:
        path.mkdir(parents=True, exist_ok=True)
        (path / "model_index.json").write_bytes(b"{}")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(EMPTY_SAFETENSORS if mark.suffix in {".safetensors", ".sft"} else b"")
