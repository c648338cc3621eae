"""Why one workflow is not ready, and what to do, in a few sentences. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from comfywatchman.base.text import pluralize, shorten_list
from comfywatchman.readiness.report.needs import ActionKind, OpenPoint, PlannedAction, WorkflowNeeds, find_needs
from comfywatchman.readiness.report.overview import PlannedStep
from comfywatchman.readiness.report.step_text import HostFacts, StepPart, describe_step
from comfywatchman.readiness.states import WorkflowStatus
from comfywatchman.readiness.status import MissingModel, WorkflowEntry

_SHOWN_NAMES = 3


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer for one workflow.

    Attributes:
        problem: What is wrong, in one or more sentences; what there is, for a ready one.
        lead: The line before the steps; empty without any.
        parts: The steps, one for each command.
        fixes: What a person has to settle, as sentences.
    """

    problem: str
    lead: str = ""
    parts: tuple[StepPart, ...] = ()
    fixes: tuple[str, ...] = ()


def merge_answers(entry: WorkflowEntry, reported: WorkflowEntry | None) -> WorkflowEntry:
    """Return an entry that was just judged with the search results that the last report has for the same models."""
    if reported is None:
        return entry
    known = {(model.folder, model.name, model.status): model for model in reported.missing_models}
    models = [
        _merge_answer(model, known.get((model.folder, model.name, model.status))) for model in entry.missing_models
    ]
    return msgspec.structs.replace(entry, missing_models=tuple(models))


def _merge_answer(model: MissingModel, reported: MissingModel | None) -> MissingModel:
    if reported is None:
        return model
    return msgspec.structs.replace(
        model,
        answer=reported.answer,
        doubt=reported.doubt,
        candidates=reported.candidates,
        size_bytes=reported.size_bytes,
    )


def explain_workflow(entry: WorkflowEntry, class_count: int, host: HostFacts) -> Explanation:
    """Explain one workflow.

    Args:
        entry: The workflow.
        class_count: Number of node classes of its active nodes.
        host: The version of ComfyUI, and whether its environment is governed.
    """
    if entry.status is WorkflowStatus.READY:
        models = pluralize(entry.models, "model")
        return Explanation(f"Nothing is missing: {models} and {pluralize(class_count, 'node class')} are here.")
    needs = find_needs(entry)
    sentences = [*_describe_actions(needs, entry), *_describe_points(needs)]
    missing_classes = len(entry.missing_nodes)
    if missing_classes == 0 and class_count and entry.status is not WorkflowStatus.INVALID:
        sentences.append(f"All {pluralize(class_count, 'node class')} are installed.")
    return Explanation(
        problem=" ".join(sentences),
        lead=_describe_lead(needs),
        parts=describe_step(PlannedStep(needs.actions, (entry.path,), (), 0), host),
        fixes=tuple(_list_fixes(needs)),
    )


def _describe_lead(needs: WorkflowNeeds) -> str:
    if not needs.actions:
        return "Do this, then check again:" if needs.open_points else ""
    return "Do this, and it is ready:" if not needs.open_points else "Do this first; the rest is below:"


def _describe_actions(needs: WorkflowNeeds, entry: WorkflowEntry) -> Iterator[str]:
    models = [action for action in needs.actions if action.folder is not None]
    if models:
        verb = "is" if len(models) == 1 else "are"
        yield f"{len(models)} of {max(entry.models, len(models))} models {verb} missing."
    packs = [action.name for action in needs.actions if action.kind is ActionKind.INSTALL]
    if packs:
        verb = "is" if len(packs) == 1 else "are"
        yield f"{pluralize(len(packs), 'node pack')} {verb} missing: {shorten_list(packs, most=_SHOWN_NAMES)}."
    for action in needs.actions:
        if action.kind in {ActionKind.UPDATE, ActionKind.REPAIR}:
            yield _describe_comfyui(action)


def _describe_comfyui(action: PlannedAction) -> str:
    if action.kind is ActionKind.REPAIR:
        return f"ComfyUI does not start properly: {action.name}."
    return f"It needs ComfyUI {action.version} or newer." if action.version else "It needs a newer ComfyUI."


_POINT_SENTENCES = {
    OpenPoint.EDIT: "To be changed in the workflow: {}.",
    OpenPoint.CHOOSE_PACK: "Several packs provide {}.",
    OpenPoint.REPAIR_PACK: "Installed, but not usable: {}.",
    OpenPoint.INPUT: "A file of yours is missing: {}.",
    OpenPoint.UNKNOWN: "Not known yet: {}.",
}


def _describe_points(needs: WorkflowNeeds) -> Iterator[str]:
    names: dict[OpenPoint, list[str]] = {}
    for point, name in needs.open_points:
        if name:
            names.setdefault(point, []).append(name.rstrip("."))
    for point, of_point in names.items():
        yield _POINT_SENTENCES[point].format(shorten_list(of_point, most=_SHOWN_NAMES))
    if needs.entry.status is WorkflowStatus.INVALID:
        for problem in needs.entry.problems[:1]:
            yield problem.message


def _list_fixes(needs: WorkflowNeeds) -> Iterator[str]:
    """Yield what a person has to settle, each sentence once."""
    entry = needs.entry
    points = {point for point, _name in needs.open_points}
    fixes: dict[str | None, None] = {}
    if points & {OpenPoint.REPAIR_PACK, OpenPoint.CHOOSE_PACK, OpenPoint.EDIT, OpenPoint.UNKNOWN}:
        install = {action.pack for action in needs.actions}
        for node in entry.missing_nodes:
            if not any(package.id in install for package in node.packages):
                fixes[node.fix] = None
        targets = {action.target for action in needs.actions}
        for model in entry.missing_models:
            if model.target not in targets:
                fixes[model.fix] = None
            elif model.needs_edit:
                fixes[f"Then choose {model.name} again in its node: the name is written for another system."] = None
    fixes.update({refused.fix: None for refused in entry.refused_inputs})
    fixes.update({missing.fix: None for missing in entry.missing_inputs if missing.required})
    if OpenPoint.FILE in points:
        fixes["Repair the file, or move it out of the workflow folder."] = None
    yield from (fix for fix in fixes if fix)
