"""The models of this host by their bytes."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from comfywatchman.comfyui.folders import ModelFolders
from comfywatchman.readiness.database import open_database
from comfywatchman.readiness.downloads.links import files_by_hash
from comfywatchman.readiness.inventory import ModelFile, build_inventory
from comfywatchman.readiness.listing import walk_models
from comfywatchman.readiness.model_index import ModelIndex


def models_here(database: Path, folders: ModelFolders) -> dict[str, ModelFile]:
    """Return a healthy file for every hash that is known of this host's models.

    Args:
        database: The index of earlier cycles.
        folders: The model folders of this ComfyUI.
    """
    with closing(open_database(database)) as opened:
        index = ModelIndex(opened)
        return files_by_hash(build_inventory(walk_models(folders), index).all_models(), index.hashes())
