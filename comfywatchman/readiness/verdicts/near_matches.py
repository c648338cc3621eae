"""Find the closest file for a model reference without an exact match. Pure: the inventory is passed in.

A file matches nearly when only the letter case, the path separator, the Unicode form, the subfolder or the model folder
differs from the name in the workflow.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final

from comfywatchman.base.files import to_nfc
from comfywatchman.comfyui.install.reachability import Obstacle, ObstacleKind
from comfywatchman.comfyui.references.reference import Reference
from comfywatchman.readiness.models.entry import LINK_BROKEN, UNFINISHED
from comfywatchman.readiness.models.listing import BrokenLink, CompleteListing
from comfywatchman.readiness.states import ModelState
from comfywatchman.readiness.verdicts.findings import (
    InstalledModel,
    ModelFinding,
    ModelLookup,
    build_missing_finding,
    build_unknown_finding,
)
from comfywatchman.readiness.verdicts.impossible_names import explain_unlisted_suffix

_NAME_DIFFERENCES = (ModelState.SEPARATOR, ModelState.NORMALISATION, ModelState.CASE)
"""The closest first."""

_MAX_SIMILAR: Final = 3
_MAX_COMPARED: Final = 500
"""Comparing thousands of names would take longer than the whole verdict."""

_SIMILARITY: Final = 0.8
"""Least likeness of names that are shown: below it most are other models of the same family."""


def judge_near_matches(
    reference: Reference, folder: str, models: ModelLookup, unknown_classes: Sequence[str]
) -> ModelFinding:
    """Judge a reference to a known folder by the files with the same basename, the closest kind of match first.

    Args:
        reference: A reference without an exact match.
        folder: The model folder that its node reads.
        models: The inventory.
        unknown_classes: Node classes of the same workflow that this host lacks.
    """
    names = [to_posix(name) for name in reference.tries]
    listing = check_reference_listing(reference, models)
    if isinstance(listing, Obstacle) and listing.kind is not ObstacleKind.FOLDER_NOT_KNOWN:
        # Not a near match either: the exact file may be where this program could not look.
        return build_unknown_finding(reference, listing)
    same_basename = _find_by_basename(names, models)
    readable_folders = {folder, *reference.also_folders}
    in_folder = [model for model in same_basename if model.folder in readable_folders]
    target = models.target(folder)
    for difference in _NAME_DIFFERENCES:
        matches = [model for model in in_folder if compare_names(model.name, names) is difference]
        if matches:
            return _build_spelling_finding(reference, difference, matches)
    if in_folder:
        return _build_subfolder_finding(reference, in_folder)
    if same_basename:
        return _build_wrong_folder_finding(reference, same_basename, target)
    if isinstance(listing, CompleteListing):
        below = names[0].rpartition("/")[0]
        place = f"{target}/{below}" if below else target
        fix = f"Put the file into {place}."
        similar = find_similar_names(reference, models)
        if similar:
            fix = f"{fix} Similar names here: {', '.join(similar)}."
        return build_missing_finding(reference, listing, fix)
    fix = f"This ComfyUI has no model folder {folder}: install the pack or the version that adds it."
    if unknown_classes:
        # ComfyUI learns of such a folder when the pack that registers it is imported.
        fix = f"Install the missing node pack first; then put the file into {target}."
    return build_unknown_finding(reference, listing, fix)


def find_similar_names(reference: Reference, models: ModelLookup) -> list[str]:
    """Return the names in a reference's folder that are spelled most like its own; a few at most."""
    if reference.folder is None:
        return []
    names: dict[str, str] = {}
    for name in islice(models.folders.get(reference.folder, {}), _MAX_COMPARED):
        names[name.lower()] = name
    similar = difflib.get_close_matches(to_posix(reference.value).lower(), names, n=_MAX_SIMILAR, cutoff=_SIMILARITY)
    return [names[name] for name in similar]


def check_reference_listing(reference: Reference, models: ModelLookup) -> CompleteListing | Obstacle:
    """Return the proof that a reference's folders were listed wherever its model may be, or why they were not."""
    folders = () if reference.folder is None else (reference.folder, *reference.also_folders)
    return models.check_listing(folders, [to_posix(name) for name in reference.tries or (reference.value,)])


def judge_without_folder(reference: Reference, models: ModelLookup) -> ModelFinding:
    """Judge a reference whose folder is not known by the files of all folders."""
    name = to_posix(reference.value)
    listing = check_reference_listing(reference, models)
    if isinstance(listing, Obstacle):
        return build_unknown_finding(reference, listing)
    same_basename = _find_by_basename([name], models)
    same_name = [model for model in same_basename if model.name == name]
    matches = same_name or same_basename
    if not matches:
        fix = "Which folder the node reads is not known; see its pack's page."
        return build_missing_finding(reference, listing, fix)
    model = pick_loadable(matches)
    if is_broken(model):
        return judge_file(reference, model)
    state = compare_names(model.name, [name]) or ModelState.SUBFOLDER
    fix = f"This host has {model.folder}/{model.name}; choose it in the node."
    return ModelFinding(reference, state, fix, model.path)


def judge_file(reference: Reference, model: InstalledModel) -> ModelFinding:
    """Judge a reference by the very file that the server would open for it."""
    if model.problem is None:
        return ModelFinding(reference, ModelState.EXACT, path=model.path)
    if model.obstacle is not None:
        return build_unknown_finding(reference, model.obstacle, path=model.path)
    if model.problem_code == LINK_BROKEN:
        fix = f"{model.folder}/{model.name} is {model.problem}: put the model there, or point the link to it."
        return build_missing_finding(reference, BrokenLink(model.path, model.problem), fix, path=model.path)
    if model.problem_code == UNFINISHED:
        fix = f"{model.folder}/{model.name} is not whole yet ({model.problem}): let aria2 finish, or delete both files."
    else:
        fix = f"{model.folder}/{model.name} is there but broken ({model.problem}): delete it and fetch it again."
    return ModelFinding(reference, ModelState.INVALID, fix, model.path)


def pick_loadable(models: Sequence[InstalledModel]) -> InstalledModel:
    """Return the first healthy file of at least one; the first file when all are broken."""
    for model in models:
        if model.problem is None:
            return model
    return models[0]


def is_broken(model: InstalledModel) -> bool:
    """Return whether a file was looked at and cannot be loaded."""
    return model.problem is not None and model.obstacle is None


def compare_names(name: str, wanted_names: Iterable[str]) -> ModelState | None:
    """Return how a file's name differs from the closest wanted name; None when by more than its spelling.

    Args:
        name: Name of the file, with `/`.
        wanted_names: Names that the workflow may mean, with `/`.
    """
    wanted = list(wanted_names)
    if name in wanted:
        return ModelState.SEPARATOR
    normalised = [to_nfc(wanted_name) for wanted_name in wanted]
    if to_nfc(name) in normalised:
        return ModelState.NORMALISATION
    # Lower-casing can decompose a character (`İ`), so the normal form is made after it.
    lowered = [to_nfc(wanted_name.lower()) for wanted_name in wanted]
    if to_nfc(name.lower()) in lowered:
        return ModelState.CASE
    return None


def to_posix(name: str) -> str:
    """Return a name with `/`, as the inventory has it; workflows saved on Windows have backslashes."""
    return name.replace("\\", "/")


def basename(name: str) -> str:
    """Return the last segment of a name with `/`."""
    return name.rpartition("/")[2]


def _find_by_basename(names: Iterable[str], models: ModelLookup) -> list[InstalledModel]:
    # Several names may share a basename; each file is to be offered once.
    basenames = dict.fromkeys(basename(name).lower() for name in names)
    found = [model for basename_lower in basenames for model in models.by_basename(basename_lower)]
    # A link to a file that does not exist is no near match.
    return [model for model in found if model.problem_code != LINK_BROKEN]


def _build_spelling_finding(reference: Reference, state: ModelState, matches: Sequence[InstalledModel]) -> ModelFinding:
    model = pick_loadable(matches)
    if is_broken(model):
        return judge_file(reference, model)
    if state is ModelState.NORMALISATION:
        fix = (
            f"This host has {model.name}, which looks the same but is written with other code points (composed and "
            "decomposed accents, as on macOS): choose it in the node again, or rename the file."
        )
    else:
        fix = f"This host has it as {model.name}; choose that name in the node, or rename the file."
    return ModelFinding(reference, state, fix, model.path)


def _build_subfolder_finding(reference: Reference, matches: Sequence[InstalledModel]) -> ModelFinding:
    model = pick_loadable(matches)
    if is_broken(model):
        return judge_file(reference, model)
    if len(matches) > 1:
        # Files of one name in several subfolders are often different models, so none is proposed.
        names = ", ".join(sorted(match.name for match in matches))
        return ModelFinding(reference, ModelState.SUBFOLDER, f"Choose one of these in the node: {names}.")
    fix = f"This host has it as {model.name}; choose that name in the node, or rename the file."
    return ModelFinding(reference, ModelState.SUBFOLDER, fix, model.path)


def _build_wrong_folder_finding(reference: Reference, matches: Sequence[InstalledModel], target: str) -> ModelFinding:
    model = pick_loadable(matches)
    if is_broken(model):
        return judge_file(reference, model)
    wanted = f"{target}/{to_posix(reference.value)}"
    unlisted = explain_unlisted_suffix(reference)
    if unlisted is not None:
        # Moving it would not help: the folder lists no files of this kind.
        fix = f"{model.folder}/{model.name} is here, but {unlisted}"
        # A pack may add suffixes to the folder, so a node that is only believed to look there may still list the file.
        is_refused = reference.kind == "loader" and reference.confidence == "high"
        return ModelFinding(reference, ModelState.UNRESOLVABLE, fix, model.path, is_refused=is_refused)
    fix = f"A file of this name lies in {model.folder}; if it is the same model, move or link it to {wanted}."
    return ModelFinding(reference, ModelState.WRONG_FOLDER, fix, model.path)
