"""Texts for the table of missing models, nodes and input files in the report. Pure."""

from __future__ import annotations

from typing import Final

from comfywatchman.readiness.report.folder_names import name_models
from comfywatchman.readiness.report.overview import MissingKind, MissingRow

_TEXTS: Final = {
    MissingKind.MODELS: "Models",
    MissingKind.PACKS: "Node packs",
    MissingKind.COMFYUI: "Newer ComfyUI",
    MissingKind.PACKS_TO_CHOOSE: "Packs to choose",
    MissingKind.PACKS_TO_REPAIR: "Packs to repair",
    MissingKind.INPUTS: "Your own files",
    MissingKind.EDITS: "Workflows to edit",
    MissingKind.FILES: "Damaged workflows",
    MissingKind.UNKNOWN: "Not known yet",
}


def describe_missing_row(row: MissingRow) -> str:
    """Return the name of a row."""
    if row.kind is MissingKind.FOLDER:
        return name_models(row.folder)
    if row.kind is MissingKind.OTHER_FOLDERS:
        return f"{row.folder} other kinds"
    return _TEXTS[row.kind]
