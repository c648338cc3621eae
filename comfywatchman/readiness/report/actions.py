"""The recommended actions for all workflows together, the most rewarding first. Pure."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from comfywatchman.comfyui.install.reachability import Obstacle, ObstacleKind
from comfywatchman.comfyui.packs.core_classes import parse_version
from comfywatchman.readiness.report.action_builders import (
    NEEDS_NEWER_COMFYUI,
    Action,
    build_choice_action,
    build_download_action,
    build_environment_action,
    build_file_action,
    build_folder_action,
    build_input_action,
    build_model_action,
    build_model_folder_action,
    build_node_action,
    build_start_action,
)
from comfywatchman.readiness.states import ModelState, WorkflowStatus
from comfywatchman.readiness.status import (
    FOLDER_UNAVAILABLE,
    NOT_GOVERNED,
    Environment,
    MissingModel,
    MissingNode,
    PlanSummary,
    StartProblem,
    WorkflowEntry,
)

_GroupKey = tuple[str, ...]
_ModelKey = tuple[str | None, str]

_KIND_ORDER: Final = ("folder", "mend", "node", "download", "model", "choice", "input", "file")
_NEWER_COMFYUI: Final[_GroupKey] = ("node", NEEDS_NEWER_COMFYUI)


@dataclass(slots=True)
class _ActionGroup:
    """Findings that one action settles.

    Attributes:
        action: The action of the first finding.
        workflows: Paths of the workflows with these findings.
        classes: Their node classes.
        models: Their models, when one download fetches several.
        is_sure: Whether something is certainly missing in one of the workflows.
        update: The greatest update of ComfyUI among the findings.
    """

    action: Action
    workflows: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    is_sure: bool = False
    update: tuple[bool, tuple[int, ...]] = (False, ())

    def raise_update(self, node: MissingNode) -> None:
        """Take the greater update of ComfyUI: one that is too small helps nobody."""
        version = parse_version(node.comfyui_version)
        # Where no version is known to have the class, only the newest will do, so that comes last in this order.
        update = (version is None, version or ())
        if update > self.update:
            self.update = update
            self.action = build_node_action(node)

    def build_action(self) -> Action:
        """Build the action for all findings."""
        action = replace(self.action, workflows=tuple(dict.fromkeys(self.workflows)), is_sure=self.is_sure)
        if self.classes:
            class_names = ", ".join(sorted(set(self.classes)))
            action = replace(action, because=f"{action.because}: {class_names}")
        if self.models:
            models = tuple(sorted(set(self.models)))
            action = replace(action, models=models, what=f"{len(models)} models")
        return action


class _ActionGroups:
    """All groups, by the key that their findings have in common."""

    def __init__(self) -> None:
        self._groups: dict[_GroupKey, _ActionGroup] = {}

    def add(self, key: _GroupKey, action: Action, path: str) -> _ActionGroup:
        """Add a finding of a workflow to its group and return the group."""
        group = self._groups.setdefault(key, _ActionGroup(action))
        group.workflows.append(path)
        group.is_sure |= action.is_sure
        return group

    def build_actions(self) -> list[Action]:
        """Build the action of each group."""
        return [group.build_action() for group in self._groups.values()]


def list_actions(
    entries: Iterable[WorkflowEntry],
    plan: PlanSummary | None = None,
    environment: Environment = NOT_GOVERNED,
    start_problems: Iterable[StartProblem] = (),
) -> tuple[Action, ...]:
    """Return the actions for all workflows together.

    What keeps ComfyUI from starting comes first, then failed checks, then what blocks most workflows.

    Args:
        entries: The workflows.
        plan: The downloads; when there is more than one, a single action fetches all of them.
        environment: The checks of the Python environment.
        start_problems: Faults of the configuration on which ComfyUI exits at its start.
    """
    entries = list(entries)
    plan_models = _find_plan_models(entries, plan)
    groups = _ActionGroups()
    for entry in entries:
        _add_file_actions(groups, entry)
        _add_node_actions(groups, entry)
        _add_model_actions(groups, entry, plan, plan_models)
        _add_input_actions(groups, entry)
    failed = [build_environment_action(check) for check in environment.checks if check.status == "fail"]
    blocked = [build_start_action(problem) for problem in start_problems]
    return (*blocked, *failed, *sorted(groups.build_actions(), key=_sort_key))


def _sort_key(action: Action) -> tuple[bool, int, int, str]:
    return not action.is_sure, _KIND_ORDER.index(action.kind), -len(action.workflows), action.what.lower()


def _add_file_actions(groups: _ActionGroups, entry: WorkflowEntry) -> None:
    if any(problem.code == FOLDER_UNAVAILABLE for problem in entry.problems):
        groups.add(("folder", os.path.dirname(entry.path)), build_folder_action(entry), entry.path)
    if entry.status is WorkflowStatus.INVALID:
        groups.add(("file", entry.path), build_file_action(entry), entry.path)


def _add_node_actions(groups: _ActionGroups, entry: WorkflowEntry) -> None:
    for node in entry.missing_nodes:
        key = _node_key(node)
        group = groups.add(key, build_node_action(node), entry.path)
        group.classes.append(node.class_type)
        if key == _NEWER_COMFYUI:
            group.raise_update(node)


def _node_key(node: MissingNode) -> _GroupKey:
    if len(node.packages) == 1:
        return ("node", node.state, node.packages[0].id)
    if node.state == NEEDS_NEWER_COMFYUI:
        return _NEWER_COMFYUI
    return ("node", node.state, node.class_type, *(package.id for package in node.packages))


def _add_model_actions(
    groups: _ActionGroups, entry: WorkflowEntry, plan: PlanSummary | None, plan_models: frozenset[_ModelKey]
) -> None:
    for model in entry.missing_models:
        if model.obstacle is not None and model.obstacle.kind is not ObstacleKind.FOLDER_NOT_KNOWN:
            _add_obstacle_action(groups, entry, model.obstacle)
        elif plan is not None and (model.folder, model.name) in plan_models:
            group = groups.add(("download",), build_download_action(plan), entry.path)
            group.models.append(model.name)
        else:
            # The instruction is a part of the key, because one action can show only one.
            key = ("model", model.folder or "", model.name, model.fix or "")
            groups.add(key, build_model_action(model), entry.path)


def _add_obstacle_action(groups: _ActionGroups, entry: WorkflowEntry, obstacle: Obstacle) -> None:
    # The repair of a file on which ComfyUI exits is an action of its own.
    if obstacle.kind is not ObstacleKind.CONFIGURATION:
        groups.add(("folder", obstacle.path), build_model_folder_action(obstacle), entry.path)


def _add_input_actions(groups: _ActionGroups, entry: WorkflowEntry) -> None:
    for refused in entry.refused_inputs:
        key = ("choice", refused.node_type, refused.input, refused.problem)
        groups.add(key, build_choice_action(refused), entry.path)
    for missing in entry.missing_inputs:
        if missing.required:
            groups.add(("input", missing.folder, missing.name), build_input_action(missing), entry.path)


def _find_plan_models(entries: Sequence[WorkflowEntry], plan: PlanSummary | None) -> frozenset[_ModelKey]:
    """Return the folder and name of each model that the plan fetches; none when it fetches a single one."""
    if plan is None:
        return frozenset()
    blocked = {(download.folder, download.name) for download in plan.blocked}
    models = set()
    for entry in entries:
        models |= {(model.folder, model.name) for model in entry.missing_models if _is_downloadable(model)}
    models -= blocked
    # A single model shows its own command, which says more than "fetch all of them".
    return frozenset(models) if len(models) > 1 else frozenset()


def _is_downloadable(model: MissingModel) -> bool:
    # A broken file has to be deleted first, so its model is no part of the common download.
    return model.answer == "FOUND" and model.status is ModelState.MISSING
