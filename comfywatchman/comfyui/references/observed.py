"""What a start of ComfyUI for a trial showed of the loaders of packs, as one look at marked model files told it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from comfywatchman.comfyui.install.folders import ModelFolder, ModelFolders
from comfywatchman.comfyui.loaders.table import LoaderInput, LoaderTable


@dataclass(frozen=True, slots=True)
class ObservedLoaders:
    """Loader inputs that were seen to list model files.

    Attributes:
        inputs: The inputs.
        directories: Where the packs keep models of folders that only they have, relative to the model folder, by
            folder name.
    """

    inputs: tuple[LoaderInput, ...] = ()
    directories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def extend_table(self, table: LoaderTable) -> LoaderTable:
        """Return a table that also holds these inputs; what was seen wins over another folder for the same input."""
        new = [_fill_widget_index(one, table) for one in self.inputs if not _is_known(one, table)]
        return table.merge(new, override=True) if new else table

    def extend_folders(self, folders: ModelFolders) -> ModelFolders:
        """Return model folders with those that only packs have."""
        models = folders.models_directory
        added = {
            name: ModelFolder(name, tuple(models / place for place in places), frozenset())
            for name, places in self.directories.items()
            if folders.get(name) is None
        }
        return replace(folders, folders={**folders.folders, **added}) if added else folders


NOTHING_OBSERVED: Final = ObservedLoaders()


def _is_known(one: LoaderInput, table: LoaderTable) -> bool:
    return any((known.name, known.folder) == (one.name, one.folder) for known in table.inputs(one.class_type))


def _fill_widget_index(one: LoaderInput, table: LoaderTable) -> LoaderInput:
    """Return an input with the place that the table knows for it, when it has none of its own."""
    known = next((known for known in table.inputs(one.class_type) if known.name == one.name), None)
    return one if known is None or one.widget_index is not None else replace(one, widget_index=known.widget_index)
