"""What a person should do, most rewarding first. Pure: made from the entries of the report."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from comfywatchman.base.text import size_words
from comfywatchman.comfyui.packs.core_classes import version_key
from comfywatchman.readiness.states import FREE_STATES, OPEN_STATES, WORDS, ModelState, Status
from comfywatchman.readiness.status import (
    NOT_GOVERNED,
    NOTHING_TO_RUN,
    OUT_OF_REACH,
    Candidate,
    Environment,
    EnvironmentCheck,
    MissingInput,
    MissingModel,
    MissingNode,
    Package,
    PlanFacts,
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
    candidates: tuple[Candidate, ...] = ()
    packages: tuple[Package, ...] = ()
    is_sure: bool = True
    models: tuple[str, ...] = ()


@dataclass(slots=True)
class _Group:
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


def actions(
    entries: Iterable[WorkflowEntry], plan: PlanFacts | None = None, environment: Environment = NOT_GOVERNED
) -> tuple[Action, ...]:
    """Return what to do for all workflows together: nodes before models, what blocks most workflows first.

    Args:
        entries: The verdicts.
        plan: What can be downloaded; when that is more than one file, one action fetches all of it.
        environment: What is said of the Python environment; what fails there comes before everything else.
    """
    fetched = _fetched_together(entries := tuple(entries), plan)
    groups: dict[tuple[str, ...], _Group] = {}
    for entry in entries:
        if any(problem.code == OUT_OF_REACH for problem in entry.problems):
            _add(groups, ("folder", os.path.dirname(entry.path)), _folder_action(entry), entry.path)
        if entry.status is Status.INVALID:
            _add(groups, ("file", entry.path), _file_action(entry), entry.path)
        for node in entry.missing_nodes:
            _add(groups, _node_key(node), _node_action(node), entry.path, node.class_type)
        for model in entry.missing_models:
            if plan is not None and (model.folder, model.name) in fetched:
                _add(groups, ("download",), _download_action(plan), entry.path, model=model.name)
            else:
                key = ("model", model.folder or "", model.name, model.fix or "")
                _add(groups, key, _model_action(model), entry.path)
        for refused in entry.refused_inputs:
            key = ("choice", refused.node_type, refused.input, refused.value or "")
            _add(groups, key, _choice_action(refused), entry.path)
        for one in entry.missing_inputs:
            if one.required:
                _add(groups, ("input", one.folder, one.name), _input_action(one), entry.path)
    found = [group.action() for group in groups.values()]
    failed = tuple(_environment_action(check) for check in environment.checks if check.status == "fail")
    order = {"mend": 0, "folder": 1, "node": 2, "download": 3, "model": 4, "choice": 5, "input": 6, "file": 7}
    return failed + tuple(
        sorted(found, key=lambda one: (not one.is_sure, order[one.kind], -len(one.workflows), one.what.lower()))
    )


def _add(
    groups: dict[tuple[str, ...], _Group],
    key: tuple[str, ...],
    first: Action,
    path: str,
    class_type: str | None = None,
    *,
    model: str | None = None,
) -> None:
    group = groups.setdefault(key, _Group(first))
    if key == _NEWER_COMFYUI:
        group.first = max(group.first, first, key=_demanded_version)  # an update that is too small helps nobody
    group.workflows.append(path)
    group.is_sure |= first.is_sure
    if class_type is not None:
        group.classes.append(class_type)
    if model is not None:
        group.models.append(model)


def _fetched_together(entries: Iterable[WorkflowEntry], plan: PlanFacts | None) -> frozenset[tuple[str | None, str]]:
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


def _demanded_version(action: Action) -> tuple[bool, tuple[int, ...]]:
    """Return what updates of ComfyUI are compared by; one that names no version asks for the newest."""
    named = [key for word in action.instruction.split() if (key := version_key(word))]
    return not named, max(named, default=())


def _node_action(node: MissingNode) -> Action:
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


def _download_action(plan: PlanFacts) -> Action:
    size = f" ({size_words(plan.total_bytes)} as far as sizes are known)" if plan.total_bytes else ""
    return Action(
        kind="download",
        what="",
        instruction=f"Fetch all of them{size}: {plan_command(plan)}",
        because="found, each proved by its hash",
        workflows=(),
    )


def plan_command(plan: PlanFacts) -> str:
    """Return the command that fetches a plan."""
    return f"comfywatchman download --plan {plan.file.rpartition('/')[2]}"


def _environment_action(check: EnvironmentCheck) -> Action:
    return Action(
        kind="environment",
        what=f"Python environment ({check.name})",
        instruction=check.action or "gov check says more.",
        because=check.evidence,
        workflows=(),
    )


def _model_action(model: MissingModel) -> Action:
    return Action(
        kind="mend" if model.status in FREE_STATES else "model",
        what=model.name,
        instruction=model.fix or "",
        because=f"a model of {model.folder or 'an unknown folder'}, {WORDS[model.status]}",
        workflows=(),
        candidates=model.candidates,
        is_sure=model.confidence != "low" and model.status not in OPEN_STATES,
    )


def _choice_action(one: RefusedInput) -> Action:
    return Action(
        kind="choice",
        what=f"{one.node_type}: {one.input}",
        instruction=one.fix,
        because="nothing feeds this input" if one.value is None else f"its value is {one.value}",
        workflows=(),
    )


def _input_action(one: MissingInput) -> Action:
    return Action(
        kind="input",
        what=one.name,
        instruction=one.fix,
        because=f"a {one.kind} that is not in ComfyUI's {one.folder} folder",
        workflows=(),
    )


def _folder_action(entry: WorkflowEntry) -> Action:
    return Action(
        kind="folder",
        what=os.path.dirname(entry.path),
        instruction="Mount its disk or check its permissions; what lies there is judged again once it can be read.",
        because="a workflow folder that cannot be read at the moment",
        workflows=(),
    )


def _file_action(entry: WorkflowEntry) -> Action:
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
