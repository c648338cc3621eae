"""Loader inputs that were observed in a ComfyUI that governance started for a trial, with marked model files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from comfywatchman.comfyui.install.folders import ModelFolder, ModelFolders
from comfywatchman.comfyui.loaders.table import LoaderInput, LoaderTable


@dataclass(frozen=True, slots=True)
class ObservedLoaders:
    """Loader inputs whose choices were model files.

    Attributes:
        inputs: The inputs.
        directories: Directories of model folders that only packs have, relative to the models directory, by folder.
    """

    inputs: tuple[LoaderInput, ...] = ()
    directories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def extend_table(self, table: LoaderTable) -> LoaderTable:
        """Return a table that also holds these inputs; an observed folder replaces another one of the same input."""
        new = [
            _fill_widget_index(loader_input, table)
            for loader_input in self.inputs
            if not _is_known(loader_input, table)
        ]
        return table.merge(new, override=True) if new else table

    def extend_folders(self, folders: ModelFolders) -> ModelFolders:
        """Return model folders that include those that only packs have."""
        added: dict[str, ModelFolder] = {}
        for name, directories in self.directories.items():
            if folders.get(name) is None:
                paths = tuple(folders.models_directory / directory for directory in directories)
                added[name] = ModelFolder(name, paths, frozenset())
        if not added:
            return folders
        return replace(folders, folders={**folders.folders, **added})


NOTHING_OBSERVED: Final = ObservedLoaders()


def _is_known(observed: LoaderInput, table: LoaderTable) -> bool:
    for known in table.inputs(observed.class_type):
        if (known.name, known.folder) == (observed.name, observed.folder):
            return True
    return False


def _fill_widget_index(observed: LoaderInput, table: LoaderTable) -> LoaderInput:
    """Take the widget index from the table for an input that has none of its own."""
    if observed.widget_index is not None:
        return observed
    for known in table.inputs(observed.class_type):
        if known.name == observed.name:
            return replace(observed, widget_index=known.widget_index)
    return observed
