"""The states of a model reference and of a workflow."""

from __future__ import annotations

from enum import StrEnum


class ModelState(StrEnum):
    """The state of a model reference on this host; the server accepts only `EXACT`."""

    EXACT = "exact"
    SEPARATOR = "separator"
    CASE = "case"
    NORMALISATION = "normalisation"
    SUBFOLDER = "subfolder"
    WRONG_FOLDER = "wrong_folder"
    FOLDER_UNKNOWN = "folder_unknown"
    INVALID = "present_but_invalid"
    UNRESOLVABLE = "unresolvable_value"
    UNKNOWN = "unknown"
    MISSING = "missing"


MODEL_STATE_TEXT = {
    ModelState.EXACT: "there",
    ModelState.SEPARATOR: "there, but written with another separator",
    ModelState.NORMALISATION: "there, but spelt with other Unicode characters",
    ModelState.CASE: "there, but in other letter case",
    ModelState.SUBFOLDER: "there, but in another subfolder",
    ModelState.WRONG_FOLDER: "not in this folder, but in another",
    ModelState.FOLDER_UNKNOWN: "there, but perhaps not where the node looks",
    ModelState.INVALID: "there, but broken",
    ModelState.UNRESOLVABLE: "not the name of a file",
    ModelState.UNKNOWN: "not known to be there or missing, because it could not be looked for",
    ModelState.MISSING: "missing",
}
"""Each state for people, as the end of a sentence that begins with "The model is"."""

LOCALLY_FIXABLE_STATES = frozenset(
    {ModelState.SEPARATOR, ModelState.NORMALISATION, ModelState.CASE, ModelState.SUBFOLDER, ModelState.WRONG_FOLDER}
)
"""States that can be fixed without a download: a file that may be the model is here."""

SEARCHED_STATES = frozenset({ModelState.MISSING, ModelState.INVALID})
"""States that only another file can fix; models in other states are not searched."""

UNDECIDED_STATES = frozenset({ModelState.UNRESOLVABLE, ModelState.FOLDER_UNKNOWN, ModelState.UNKNOWN})
"""States in which it is not known whether the model is missing."""


class WorkflowStatus(StrEnum):
    """The verdict on a workflow: whether it runs on this host."""

    READY = "READY"
    MISSING = "MISSING"
    UNCERTAIN = "UNCERTAIN"
    INVALID = "INVALID"
