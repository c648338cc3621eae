"""The verdict on each model reference, and on all findings of a workflow. Pure: the inventory is passed in."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from comfywatchman.comfyui.install.reachability import Obstacle, ObstacleKind
from comfywatchman.comfyui.loaders.name_resolution import resolve_name
from comfywatchman.comfyui.references.reference import Confidence, Reference
from comfywatchman.readiness.models.listing import ServerList
from comfywatchman.readiness.states import ModelState, WorkflowStatus
from comfywatchman.readiness.verdicts.findings import (
    InstalledModel,
    ModelFinding,
    ModelLookup,
    build_missing_finding,
    build_unknown_finding,
)
from comfywatchman.readiness.verdicts.impossible_names import explain_impossible_name, is_file_name
from comfywatchman.readiness.verdicts.near_matches import (
    basename,
    check_reference_listing,
    find_similar_names,
    is_broken,
    judge_file,
    judge_near_matches,
    judge_without_folder,
    pick_loadable,
)

_MAX_NAMED_CLASSES = 3


def judge_reference(
    reference: Reference,
    models: ModelLookup,
    *,
    unknown_classes: Sequence[str] = (),
    choices: Collection[str] | None = None,
) -> ModelFinding:
    """Judge one reference: `EXACT` is what the server would open, however odd its name.

    Args:
        reference: The reference.
        models: The inventory.
        unknown_classes: Node classes of the same workflow that this host lacks. Without its class, the inputs of a
            node may be read in the wrong order, so a value that cannot be a file name is unresolvable.
        choices: The list of the running server for this input; None when no server runs or it has no list.
            The server decides whether the name is accepted, the file whether it can be loaded.
    """
    finding = _judge_by_files(reference, models, unknown_classes)
    if choices is None or _is_about_unusable_file(finding):
        return finding
    if reference.value in choices:
        return ModelFinding(reference, ModelState.EXACT, path=finding.path)
    if finding.state is not ModelState.EXACT:
        return finding
    fix = "The file is there, but the running ComfyUI does not offer it: restart it, or see which folders it reads."
    return build_missing_finding(reference, ServerList(reference.input, len(choices)), fix, path=finding.path)


def combine_findings(
    models: Iterable[ModelFinding], *, nodes_missing: bool, nodes_uncertain: bool, is_refused: bool = False
) -> WorkflowStatus:
    """Combine the findings of a readable workflow to its status.

    Args:
        models: Findings of active references only.
        nodes_missing: Whether a required node class is certainly not usable.
        nodes_uncertain: Whether that is not known for a required node class.
        is_refused: Whether the running server certainly refuses the workflow for another reason.
    """
    not_ready = [finding for finding in models if finding.state is not ModelState.EXACT]
    if nodes_missing or is_refused or any(finding.is_sure for finding in not_ready):
        return WorkflowStatus.MISSING
    if nodes_uncertain or not_ready:
        return WorkflowStatus.UNCERTAIN
    return WorkflowStatus.READY


def confidence_rank(confidence: Confidence) -> int:
    """Return the sort key of a confidence; the highest confidence comes first."""
    return ("high", "medium", "low").index(confidence)


def _is_about_unusable_file(finding: ModelFinding) -> bool:
    """Return whether the very file is broken or could not be looked at; a server offers such files, too."""
    unusable = {ModelState.INVALID, ModelState.MISSING, ModelState.UNKNOWN}
    return finding.path is not None and finding.state in unusable


def _judge_by_files(reference: Reference, models: ModelLookup, unknown_classes: Sequence[str]) -> ModelFinding:
    model = _find_exact(reference, models)
    if model is not None:
        # A file of the right name in some folder proves nothing while the node's folder is not known.
        if reference.folder is None and model.problem is None:
            return _build_unknown_folder_finding(reference, model)
        listing = check_reference_listing(reference, models) if is_broken(model) else None
        if isinstance(listing, Obstacle) and listing.kind is not ObstacleKind.FOLDER_NOT_KNOWN:
            # A file that was not looked at may go before the broken one.
            return build_unknown_finding(reference, listing)
        return judge_file(reference, model)
    unresolvable = _judge_impossible_name(reference, models, unknown_classes)
    if unresolvable is not None:
        return unresolvable
    if reference.folder is None:
        return judge_without_folder(reference, models)
    return judge_near_matches(reference, reference.folder, models, unknown_classes)


def _find_exact(reference: Reference, models: ModelLookup) -> InstalledModel | None:
    if reference.folder is None:
        if not reference.value:
            return None
        same_basename = models.by_basename(basename(reference.value).lower())
        matches = [model for model in same_basename if model.name == reference.value]
        return pick_loadable(matches) if matches else None
    for folder in (reference.folder, *reference.also_folders):
        for name in reference.tries:
            model = models.exact(folder, name) if name else None
            if model is not None:
                return model
    resolved = resolve_name(reference.resolution, reference.tries, models.folders.get(reference.folder, {}))
    if resolved is not None:
        return models.exact(reference.folder, resolved)
    return models.by_prefix(reference.folder, reference.prefix) if reference.prefix else None


def _judge_impossible_name(
    reference: Reference, models: ModelLookup, unknown_classes: Sequence[str]
) -> ModelFinding | None:
    """Judge a value that no file can be called; None for a possible name."""
    reason = explain_impossible_name(reference)
    if reason is None and is_file_name(reference.value):
        return None
    if reason is None or unknown_classes:
        return ModelFinding(reference, ModelState.UNRESOLVABLE, _explain_unresolvable(unknown_classes))
    similar = find_similar_names(reference, models)
    if similar:
        reason = f"{reason} Similar names here: {', '.join(similar)}."
    # ComfyUI refuses it where the input is known for certain.
    is_refused = reference.confidence == "high" and reference.kind == "loader"
    return ModelFinding(reference, ModelState.UNRESOLVABLE, reason, is_refused=is_refused)


def _build_unknown_folder_finding(reference: Reference, model: InstalledModel) -> ModelFinding:
    return ModelFinding(
        reference,
        ModelState.FOLDER_UNKNOWN,
        f"{model.folder}/{model.name} is there, but it is not known which folder this node reads. "
        "Start ComfyUI and run the check again: the running server says what the node offers.",
        model.path,
    )


def _explain_unresolvable(unknown_classes: Sequence[str]) -> str:
    if not unknown_classes:
        return "The value is no file name; open the workflow and choose a model in this node."
    named = ", ".join(unknown_classes[:_MAX_NAMED_CLASSES])
    return f"The value is no file name, perhaps because node classes are missing ({named}): install those first."
