"""Proofs that models are missing, for tests."""

from __future__ import annotations

from collections.abc import Sequence

from comfywatchman.comfyui.install.reachability import Obstacle, ObstacleKind
from comfywatchman.comfyui.references.reference import Reference
from comfywatchman.readiness.models.listing import CompleteListing, FolderListing
from comfywatchman.readiness.states import ModelState
from comfywatchman.readiness.verdicts.findings import ModelFinding

CLOSED = Obstacle(ObstacleKind.UNREADABLE, "/models/loras", "Permission denied")


def list_folders(folders: Sequence[str], names: Sequence[str], *, known: Sequence[str]) -> CompleteListing | Obstacle:
    """Return the proof for folders of which each has one directory; an obstacle for one that is not known."""
    for folder in folders:
        if folder not in known:
            return Obstacle(ObstacleKind.FOLDER_NOT_KNOWN, f"models/{folder}")
    return CompleteListing(tuple(names), tuple(FolderListing((f"/models/{folder}",)) for folder in folders or known))


def build_finding(reference: Reference, state: ModelState) -> ModelFinding:
    """Build a finding of any state, with the proof or obstacle that the state needs."""
    absence = CompleteListing(("a",), (FolderListing(("/models/loras",)),))
    return ModelFinding(
        reference,
        state,
        absence=absence if state is ModelState.MISSING else None,
        obstacle=CLOSED if state is ModelState.UNKNOWN else None,
    )
