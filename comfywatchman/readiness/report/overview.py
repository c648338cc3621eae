"""The plan of the report and the counts of what is missing, computed from the report's facts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from comfywatchman.readiness.report.needs import (
    ActionKind,
    OpenPoint,
    PlannedAction,
    WorkflowNeeds,
    list_needs,
    pick_version,
)
from comfywatchman.readiness.report.steps import Step, plan_steps
from comfywatchman.readiness.status import MasterStatus

MAX_STEPS: Final = 5
HEADLINE_STEPS: Final = 3
_SHOWN_FOLDERS: Final = 3


class MissingKind(StrEnum):
    """A row of the table of what is missing."""

    MODELS = "models"
    FOLDER = "folder"
    OTHER_FOLDERS = "other_folders"
    PACKS = "packs"
    COMFYUI = "comfyui"
    PACKS_TO_CHOOSE = "packs_to_choose"
    PACKS_TO_REPAIR = "packs_to_repair"
    INPUTS = "inputs"
    EDITS = "edits"
    FILES = "files"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class MissingRow:
    """How much of one kind is missing, and how many workflows wait for it; the folder of models, where it is of one."""

    kind: MissingKind
    count: int
    waiting: int
    folder: str = ""


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step of the plan with its actions in full."""

    actions: tuple[PlannedAction, ...]
    unlocks: tuple[str, ...]
    after: tuple[int, ...]
    ready_after: int

    @property
    def gain(self) -> int:
        """Number of workflows that become ready by it."""
        return len(self.unlocks)


@dataclass(frozen=True, slots=True)
class ReportOverview:
    """The plan and the counts.

    Attributes:
        needs: The workflows that are not ready, those with the fewest needs first.
        steps: The most rewarding steps.
        missing: What is missing, by kind.
        usage: How many workflows need each action, by its id.
    """

    needs: tuple[WorkflowNeeds, ...]
    steps: tuple[PlannedStep, ...]
    missing: tuple[MissingRow, ...]
    actions: tuple[PlannedAction, ...]
    usage: Mapping[str, int]

    def count_gain(self, steps: int) -> int:
        """Return how many more workflows are ready after the first steps."""
        return sum(step.gain for step in self.steps[:steps])


def build_overview(status: MasterStatus, *, max_steps: int = MAX_STEPS) -> ReportOverview:
    """Build the plan and the counts for a report."""
    needs = list_needs(status)
    actions = _merge_actions(needs)
    promised = {}
    for workflow in needs:
        if workflow.actions and not workflow.open_points:
            promised[workflow.entry.path] = frozenset(action.id for action in workflow.actions)
    costs = {action_id: action.cost for action_id, action in actions.items()}
    steps = plan_steps(promised, costs, ready=status.summary.ready, max_steps=max_steps)
    ordered = sorted(needs, key=lambda workflow: (_count_steps(workflow), workflow.entry.path))
    usage = dict.fromkeys(actions, 0)
    for workflow in needs:
        for action in workflow.actions:
            usage[action.id] += 1
    return ReportOverview(
        needs=tuple(ordered),
        steps=tuple(_complete_steps(steps, actions, needs)),
        missing=tuple(_count_missing(needs)),
        actions=tuple(actions.values()),
        usage=usage,
    )


def _count_steps(workflow: WorkflowNeeds) -> int:
    return len(workflow.actions) + len(workflow.open_points)


def _merge_actions(needs: Iterable[WorkflowNeeds]) -> dict[str, PlannedAction]:
    """Return every action by its id, the one that says most where workflows say different things."""
    actions: dict[str, PlannedAction] = {}
    for workflow in needs:
        for action in workflow.actions:
            known = actions.get(action.id)
            if known is None or _says_more(action, known):
                actions[action.id] = action
    return actions


def _says_more(action: PlannedAction, known: PlannedAction) -> bool:
    """Return whether an action has an address that the known one lacks, or a name with the separator of this system."""
    if (action.url is None) != (known.url is None):
        return known.url is None
    return "\\" in known.name and "\\" not in action.name


def _complete_steps(
    steps: Sequence[Step], actions: Mapping[str, PlannedAction], needs: Iterable[WorkflowNeeds]
) -> Iterator[PlannedStep]:
    unlocked = {path for step in steps for path in step.unlocks}
    updates = []
    for workflow in needs:
        if workflow.entry.path in unlocked:
            updates += [action for action in workflow.actions if action.kind is ActionKind.UPDATE]
    # Later steps may need a newer version than the one that the update alone is for.
    version = pick_version(updates)
    for step in steps:
        completed = []
        for action_id in step.actions:
            action = actions[action_id]
            completed.append(replace(action, version=version) if action.kind is ActionKind.UPDATE else action)
        yield PlannedStep(tuple(completed), step.unlocks, step.after, step.ready_after)


class _Counter:
    """Distinct names and waiting workflows of each row."""

    def __init__(self) -> None:
        self.names: dict[MissingKind, set[str]] = {kind: set() for kind in MissingKind}
        self.waiting: dict[MissingKind, set[str]] = {kind: set() for kind in MissingKind}
        self.folders: dict[str, set[str]] = {}
        self.folder_waiting: dict[str, set[str]] = {}

    def add(self, kind: MissingKind, name: str, path: str) -> None:
        self.names[kind].add(name)
        self.waiting[kind].add(path)

    def add_model(self, action: PlannedAction, path: str) -> None:
        self.add(MissingKind.MODELS, action.target, path)
        folder = action.folder or ""
        self.folders.setdefault(folder, set()).add(action.target)
        self.folder_waiting.setdefault(folder, set()).add(path)

    def build_row(self, kind: MissingKind) -> MissingRow:
        return MissingRow(kind, len(self.names[kind]), len(self.waiting[kind]))


_POINT_ROWS: Final = {
    OpenPoint.CHOOSE_PACK: MissingKind.PACKS_TO_CHOOSE,
    OpenPoint.REPAIR_PACK: MissingKind.PACKS_TO_REPAIR,
    OpenPoint.INPUT: MissingKind.INPUTS,
    OpenPoint.UNKNOWN: MissingKind.UNKNOWN,
}


def _count_missing(needs: Iterable[WorkflowNeeds]) -> Iterator[MissingRow]:
    counter = _Counter()
    for workflow in needs:
        path = workflow.entry.path
        for action in workflow.actions:
            if action.folder is not None:
                counter.add_model(action, path)
            elif action.kind is ActionKind.INSTALL:
                counter.add(MissingKind.PACKS, action.id, path)
            elif action.kind is ActionKind.UPDATE:
                counter.add(MissingKind.COMFYUI, "", path)
        for point, name in workflow.open_points:
            if point is OpenPoint.EDIT:
                counter.add(MissingKind.EDITS, path, path)
            elif point is OpenPoint.FILE:
                counter.add(MissingKind.FILES, path, path)
            else:
                counter.add(_POINT_ROWS[point], name, path)
    yield from _build_rows(counter)


def _build_rows(counter: _Counter) -> Iterator[MissingRow]:
    for kind in MissingKind:
        row = counter.build_row(kind)
        if row.count:
            yield row
        if kind is MissingKind.MODELS:
            yield from _build_folder_rows(counter)


def _build_folder_rows(counter: _Counter) -> Iterator[MissingRow]:
    """Yield the model folders for which most workflows wait, and the others together."""
    order = sorted(counter.folders, key=lambda folder: (-len(counter.folder_waiting[folder]), folder))
    # One folder left over is shown by its name as well.
    shown = order if len(order) <= _SHOWN_FOLDERS + 1 else order[:_SHOWN_FOLDERS]
    for folder in shown:
        yield MissingRow(MissingKind.FOLDER, len(counter.folders[folder]), len(counter.folder_waiting[folder]), folder)
    others = order[len(shown) :]
    if others:
        models = sum(len(counter.folders[folder]) for folder in others)
        waiting = set().union(*(counter.folder_waiting[folder] for folder in others))
        yield MissingRow(MissingKind.OTHER_FOLDERS, models, len(waiting), str(len(others)))
