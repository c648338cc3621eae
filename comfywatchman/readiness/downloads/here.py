"""The models of this host by their bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from comfywatchman.comfyui.folders import ModelFolders
from comfywatchman.readiness.database import open_database
from comfywatchman.readiness.downloads.links import files_by_hash
from comfywatchman.readiness.inventory import Inventory, ModelFile, build_inventory
from comfywatchman.readiness.listing import walk_models
from comfywatchman.readiness.model_index import ModelIndex


def models_here(database: Path, folders: ModelFolders) -> dict[str, ModelFile]:
    """Return a healthy file for every hash that is known of this host's models.

    Args:
        database: The index of earlier cycles.
        folders: The model folders of this ComfyUI.
    """
    opened = open_database(database)
    try:
        index = ModelIndex(opened)
        return files_by_hash(all_models(build_inventory(walk_models(folders), index)), index.hashes())
    finally:
        opened.close()


def all_models(inventory: Inventory) -> Iterator[ModelFile]:
    """Yield the models of all folders."""
    for models in inventory.folders.values():
        yield from models.values()
