"""What a person should do, most rewarding first. Pure: made from the entries of the report."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from comfywatchman.base.text import format_size
from comfywatchman.comfyui.packs.core_classes import parse_version
from comfywatchman.readiness.states import (
    LOCALLY_FIXABLE_STATES,
    MODEL_STATE_TEXT,
    UNDECIDED_STATES,
    ModelState,
    WorkflowStatus,
)
from comfywatchman.readiness.status import (
    FOLDER_UNAVAILABLE,
    NOT_GOVERNED,
    NOTHING_TO_RUN,
    Environment,
    EnvironmentCheck,
    MissingInput,
    MissingModel,
    MissingNode,
    ModelCandidate,
    PlanSummary,
    ProviderPackage,
    RefusedInput,
    WorkflowEntry,
)

_NEWER_COMFYUI: Final = ("node", "needs_newer_comfyui")


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do.

    Attributes:
        kind: `environment` (a check of it fails), `mend` (a model that is here under another name or in another place),
            `folder` (cannot be read), `node`, `download`, `model`, `choice` (an input that the server refuses), `input`
            or `file`.
        what: Node package, how many models, model name, name of an input file, or workflow file.
        instruction: What to do with it.
        because: What is wrong, in words.
        workflows: Paths of the workflows that need it.
        candidates: Where a model may be had.
        packages: Who provides a node, when that is not certain.
        is_sure: False when it is not known whether something is really missing.
        models: What one download of all that was found brings.
    """

    kind: str
    what: str
    instruction: str
    because: str
    workflows: tuple[str, ...]
    candidates: tuple[ModelCandidate, ...] = ()
    packages: tuple[ProviderPackage, ...] = ()
    is_sure: bool = True
    models: tuple[str, ...] = ()


@dataclass(slots=True)
class _ActionGroup:
    first: Action
    workflows: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    is_sure: bool = False

    def action(self) -> Action:
        because = self.first.because
        if self.classes:
            because = f"{because}: {', '.join(sorted(set(self.classes)))}"
        models = tuple(sorted(set(self.models)))
        return Action(
            kind=self.first.kind,
            what=f"{len(models)} models" if models else self.first.what,
            instruction=self.first.instruction,
            because=because,
            workflows=tuple(dict.fromkeys(self.workflows)),
            candidates=self.first.candidates,
            packages=self.first.packages,
            is_sure=self.is_sure,
            models=models,
        )


def list_actions(
    entries: Iterable[WorkflowEntry], plan: PlanSummary | None = None, environment: Environment = NOT_GOVERNED
) -> tuple[Action, ...]:
    """Return what to do for all workflows together: nodes before models, what blocks most workflows first.

    Args:
        entries: The verdicts.
        plan: What can be downloaded; when that is more than one file, one action fetches all of it.
        environment: What is said of the Python environment; what fails there comes before everything else.
    """
    fetched = _find_plan_models(entries := tuple(entries), plan)
    groups: dict[tuple[str, ...], _ActionGroup] = {}
    for entry in entries:
        if any(problem.code == FOLDER_UNAVAILABLE for problem in entry.problems):
            _add_to_group(groups, ("folder", os.path.dirname(entry.path)), _build_folder_action(entry), entry.path)
        if entry.status is WorkflowStatus.INVALID:
            _add_to_group(groups, ("file", entry.path), _build_file_action(entry), entry.path)
        for node in entry.missing_nodes:
            _add_to_group(groups, _node_key(node), _build_node_action(node), entry.path, node.class_type)
        for model in entry.missing_models:
            if plan is not None and (model.folder, model.name) in fetched:
                _add_to_group(groups, ("download",), _build_download_action(plan), entry.path, model=model.name)
            else:
                key = ("model", model.folder or "", model.name, model.fix or "")
                _add_to_group(groups, key, _build_model_action(model), entry.path)
        for refused in entry.refused_inputs:
            key = ("choice", refused.node_type, refused.input, refused.value or "")
            _add_to_group(groups, key, _build_choice_action(refused), entry.path)
        for one in entry.missing_inputs:
            if one.required:
                _add_to_group(groups, ("input", one.folder, one.name), _build_input_action(one), entry.path)
    found = [group.action() for group in groups.values()]
    failed = tuple(_build_environment_action(check) for check in environment.checks if check.status == "fail")
    order = {"mend": 0, "folder": 1, "node": 2, "download": 3, "model": 4, "choice": 5, "input": 6, "file": 7}
    return failed + tuple(
        sorted(found, key=lambda one: (not one.is_sure, order[one.kind], -len(one.workflows), one.what.lower()))
    )


def _add_to_group(
    groups: dict[tuple[str, ...], _ActionGroup],
    key: tuple[str, ...],
    first: Action,
    path: str,
    class_type: str | None = None,
    *,
    model: str | None = None,
) -> None:
    group = groups.setdefault(key, _ActionGroup(first))
    if key == _NEWER_COMFYUI:
        group.first = max(group.first, first, key=_get_required_version)  # an update that is too small helps nobody
    group.workflows.append(path)
    group.is_sure |= first.is_sure
    if class_type is not None:
        group.classes.append(class_type)
    if model is not None:
        group.models.append(model)


def _find_plan_models(entries: Iterable[WorkflowEntry], plan: PlanSummary | None) -> frozenset[tuple[str | None, str]]:
    """Return the models that the plan fetches, by folder and name; none when each may as well be fetched alone."""
    if plan is None:
        return frozenset()
    blocked = {(one.folder, one.name) for one in plan.blocked}
    found = {
        (model.folder, model.name)
        for entry in entries
        for model in entry.missing_models
        if model.answer == "FOUND" and model.status is ModelState.MISSING
    }
    return frozenset(found - blocked) if len(found - blocked) > 1 else frozenset()


def _node_key(node: MissingNode) -> tuple[str, ...]:
    if len(node.packages) == 1:
        return ("node", node.state, node.packages[0].id)
    if node.state == "needs_newer_comfyui":
        return _NEWER_COMFYUI
    return ("node", node.state, node.class_type, *(package.id for package in node.packages))


def _get_required_version(action: Action) -> tuple[bool, tuple[int, ...]]:
    """Return what updates of ComfyUI are compared by; one that names no version asks for the newest."""
    named = [key for word in action.instruction.split() if (key := parse_version(word))]
    return not named, max(named, default=())


def _build_node_action(node: MissingNode) -> Action:
    what = node.packages[0].id if len(node.packages) == 1 else node.class_type
    if node.state == "needs_newer_comfyui":
        what = "ComfyUI"
    because = {
        "missing": "missing node classes",
        "import_failed": "its import failed",
        "needs_newer_comfyui": "node classes of a newer ComfyUI",
    }.get(node.state, "node classes of unknown origin")
    return Action(
        kind="node",
        what=what,
        instruction=node.fix or "Find the package that provides it.",
        because=because,
        workflows=(),
        packages=node.packages,
        is_sure=node.state != "unknown",
    )


def _build_download_action(plan: PlanSummary) -> Action:
    size = f" ({format_size(plan.total_bytes)} as far as sizes are known)" if plan.total_bytes else ""
    return Action(
        kind="download",
        what="",
        instruction=f"Fetch all of them{size}: {plan_command(plan)}",
        because="found, each proved by its hash",
        workflows=(),
    )


def plan_command(plan: PlanSummary) -> str:
    """Return the command that fetches a plan."""
    return f"comfywatchman download --plan {plan.file.rpartition('/')[2]}"


def _build_environment_action(check: EnvironmentCheck) -> Action:
    return Action(
        kind="environment",
        what=f"Python environment ({check.name})",
        instruction=check.action or "gov check says more.",
        because=check.evidence,
        workflows=(),
    )


def _build_model_action(model: MissingModel) -> Action:
    return Action(
        kind="mend" if model.status in LOCALLY_FIXABLE_STATES else "model",
        what=model.name,
        instruction=model.fix or "",
        because=f"a model of {model.folder or 'an unknown folder'}, {MODEL_STATE_TEXT[model.status]}",
        workflows=(),
        candidates=model.candidates,
        is_sure=model.confidence != "low" and model.status not in UNDECIDED_STATES,
    )


def _build_choice_action(one: RefusedInput) -> Action:
    return Action(
        kind="choice",
        what=f"{one.node_type}: {one.input}",
        instruction=one.fix,
        because="nothing feeds this input" if one.value is None else f"its value is {one.value}",
        workflows=(),
    )


def _build_input_action(one: MissingInput) -> Action:
    return Action(
        kind="input",
        what=one.name,
        instruction=one.fix,
        because=f"a {one.kind} that is not in ComfyUI's {one.folder} folder",
        workflows=(),
    )


def _build_folder_action(entry: WorkflowEntry) -> Action:
    return Action(
        kind="folder",
        what=os.path.dirname(entry.path),
        instruction="Mount its disk or check its permissions; what lies there is judged again once it can be read.",
        because="a workflow folder that cannot be read at the moment",
        workflows=(),
    )


def _build_file_action(entry: WorkflowEntry) -> Action:
    reason = entry.problems[0].message if entry.problems else "cannot be read"
    instruction = "Repair the file, or move it out of the workflow folder."
    if any(problem.code == NOTHING_TO_RUN for problem in entry.problems):
        instruction = "Add a node that saves or shows the result, or move the file out of the workflow folder."
    return Action(
        kind="file",
        what=entry.path,
        instruction=instruction,
        because=reason,
        workflows=(),
    )
