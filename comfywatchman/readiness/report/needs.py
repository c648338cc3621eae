"""What each workflow needs to become ready: actions of a person, and points for which nothing can be promised. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from comfywatchman.comfyui.packs.core_classes import parse_version
from comfywatchman.readiness.report.steps import ActionCost
from comfywatchman.readiness.states import ModelState, NodeRemedy, SearchDoubt, WorkflowStatus
from comfywatchman.readiness.status import MasterStatus, MissingModel, MissingNode, WorkflowEntry
from comfywatchman.readiness.verdicts.refusals import INPUT_DOUBTFUL, INPUT_UNCHECKED
from comfywatchman.readiness.verdicts.workflow import INCOMPLETE_READ_CODES, LINK_TO_NOWHERE

_ModelKey = tuple[str | None, str]


class ActionKind(StrEnum):
    """What a person does; the order is that of the effort."""

    REPAIR = "repair"
    """Repair ComfyUI's configuration or Python environment, so that it starts."""
    LINK = "link"
    """Link a file of this host to the place where the workflow expects it."""
    DOWNLOAD = "download"
    UPDATE = "update"
    """Update ComfyUI."""
    INSTALL = "install"
    """Install a node pack."""
    FIND = "find"
    """Find a model for which no source is known."""
    REPLACE = "replace"
    """Delete a damaged file and get it again."""
    CHOOSE = "choose"
    """Choose one of several candidates."""


_EDIT_CODES: Final = frozenset({"editor-cannot-send", "model-name-absent", LINK_TO_NOWHERE, INPUT_DOUBTFUL})
"""Problems of a readable file that only a change of the workflow can settle."""

_EFFORT: Final = {kind: rank for rank, kind in enumerate(ActionKind)}


class OpenPoint(StrEnum):
    """Why nothing can be promised for a workflow, whatever is downloaded or installed."""

    FILE = "file"
    """The file is no valid workflow."""
    EDIT = "edit"
    """A value or node has to be changed in the workflow."""
    CHOOSE_PACK = "choose_pack"
    """Several packs provide a class."""
    REPAIR_PACK = "repair_pack"
    """An installed pack is disabled, outdated, or cannot be imported."""
    INPUT = "input"
    """A file of the user is missing."""
    UNKNOWN = "unknown"
    """Something could not be looked at, or nobody knows a class, a folder or a value."""


_IMPORT_STATES: Final = frozenset({"import_failed", "not_listed"})
_REMEDY_POINTS: Final[Mapping[NodeRemedy | None, OpenPoint]] = {
    NodeRemedy.CHOOSE_PACK: OpenPoint.CHOOSE_PACK,
    NodeRemedy.UPDATE_PACK: OpenPoint.REPAIR_PACK,
    NodeRemedy.ENABLE_PACK: OpenPoint.REPAIR_PACK,
    NodeRemedy.REPLACE_NODE: OpenPoint.EDIT,
}
_LINKED_STATES: Final = frozenset({ModelState.CASE, ModelState.SUBFOLDER, ModelState.WRONG_FOLDER})
_EDITED_STATES: Final = frozenset(
    {ModelState.SEPARATOR, ModelState.NORMALISATION, ModelState.SUBFOLDER, ModelState.UNRESOLVABLE}
)


@dataclass(frozen=True, slots=True)
class PlannedAction:
    """One action.

    Attributes:
        kind: What to do.
        name: Name of the model or pack; the file or check of a repair; empty for an update.
        pack: Id of a node pack.
        folder: Model folder; None for anything but models.
        target: Where the model belongs.
        size_bytes: Download size; None when it is not known.
        found_at: The file of this host that may be the model.
        url: The link that the workflow declares, or the address of a pack.
        is_verified: Whether the source was verified by its hash.
        choices: Number of candidates to choose from.
        version: For an update, the version of ComfyUI that is enough; None for the newest.
    """

    kind: ActionKind
    name: str
    pack: str = ""
    folder: str | None = None
    target: str = ""
    size_bytes: int | None = None
    found_at: str | None = None
    url: str | None = None
    is_verified: bool = False
    choices: int = 0
    version: str | None = None

    @property
    def id(self) -> str:
        """Key of the action; equal for the same thing in several workflows."""
        return f"{self.kind.value}:{self.target or self.pack.lower() or self.name}"

    @property
    def cost(self) -> ActionCost:
        """What it asks of a person."""
        return ActionCost(_EFFORT[self.kind], self.size_bytes)


@dataclass(frozen=True, slots=True)
class WorkflowNeeds:
    """What one workflow that is not ready needs.

    Attributes:
        entry: The workflow.
        actions: The actions, each once.
        open_points: Why nothing can be promised, each with the name that it concerns; empty when the actions are all.
    """

    entry: WorkflowEntry
    actions: tuple[PlannedAction, ...]
    open_points: tuple[tuple[OpenPoint, str], ...]


def list_needs(status: MasterStatus) -> tuple[WorkflowNeeds, ...]:
    """Return the needs of each workflow that is not ready, in the order of the report."""
    blocked: frozenset[_ModelKey] = frozenset()
    if status.plan is not None:
        blocked = frozenset((download.folder, download.name) for download in status.plan.blocked)
    repair = find_repair(status)
    if status.host.comfyui_running:
        repair = None
    return tuple(
        find_needs(entry, blocked, repair) for entry in status.workflows if entry.status is not WorkflowStatus.READY
    )


def find_needs(
    entry: WorkflowEntry, blocked: frozenset[_ModelKey] = frozenset(), repair: PlannedAction | None = None
) -> WorkflowNeeds:
    """Return the needs of one workflow that is not ready.

    Args:
        entry: The workflow.
        blocked: Folder and name of the models whose download is blocked.
        repair: The repair without which ComfyUI does not start.
    """
    actions = {action.id: action for action in _list_actions(entry, blocked)}
    if repair is not None:
        actions[repair.id] = repair
    points = dict.fromkeys(_list_open_points(entry, blocked))
    if not actions and not points:
        points[OpenPoint.UNKNOWN, ""] = None
    return WorkflowNeeds(entry, tuple(actions.values()), tuple(points))


def find_repair(status: MasterStatus) -> PlannedAction | None:
    """Return the repair without which ComfyUI does not start properly; None when nothing is known to prevent it."""
    for problem in status.start_problems:
        return PlannedAction(ActionKind.REPAIR, problem.path)
    for check in status.environment.checks:
        if check.vital and check.status == "fail":
            return PlannedAction(ActionKind.REPAIR, check.name, url=check.action)
    return None


def pick_version(actions: Iterable[PlannedAction]) -> str | None:
    """Return the lowest version of ComfyUI that is enough for several updates; None when only the newest is."""
    versions = []
    for action in actions:
        version = parse_version(action.version)
        if version is None:
            return None
        versions.append((version, action.version))
    return max(versions)[1] if versions else None


def _list_actions(entry: WorkflowEntry, blocked: frozenset[_ModelKey]) -> Iterator[PlannedAction]:
    updates = []
    for node in entry.missing_nodes:
        if node.remedy is NodeRemedy.UPDATE_COMFYUI:
            updates.append(PlannedAction(ActionKind.UPDATE, "", version=node.comfyui_version))
        elif node.remedy is NodeRemedy.INSTALL_PACK:
            package = node.packages[0]
            yield PlannedAction(ActionKind.INSTALL, package.title or package.id, pack=package.id, url=package.url)
    if updates:
        yield PlannedAction(ActionKind.UPDATE, "", version=pick_version(updates))
    for model in entry.missing_models:
        kind = _find_model_action(model, blocked)
        if kind is not None:
            yield _build_model_action(kind, model)


def _find_model_action(model: MissingModel, blocked: frozenset[_ModelKey]) -> ActionKind | None:
    """Return what to do about a model; None when no action alone can make it ready."""
    if model.target is None:
        return None
    if model.status in _LINKED_STATES:
        return ActionKind.LINK if model.found_at else None
    if model.status is ModelState.INVALID:
        return ActionKind.REPLACE
    # A missing model with a file is a link to nowhere, or a file that the running server does not list.
    if model.status is ModelState.MISSING and model.found_at is None:
        return _find_source_action(model, is_blocked=(model.folder, model.name) in blocked)
    return None


def _find_source_action(model: MissingModel, *, is_blocked: bool) -> ActionKind:
    if model.answer == "FOUND":
        return ActionKind.FIND if is_blocked else ActionKind.DOWNLOAD
    if model.answer == "UNCERTAIN" and model.doubt is SearchDoubt.CANDIDATES_TO_CHOOSE:
        return ActionKind.CHOOSE
    return ActionKind.DOWNLOAD if model.declared_url else ActionKind.FIND


def _build_model_action(kind: ActionKind, model: MissingModel) -> PlannedAction:
    return PlannedAction(
        kind,
        model.name,
        folder=model.folder,
        target=model.target or "",
        size_bytes=0 if kind is ActionKind.LINK else model.size_bytes,
        found_at=model.found_at,
        url=model.declared_url,
        is_verified=model.answer == "FOUND",
        choices=len(model.candidates) if kind is ActionKind.CHOOSE else 0,
    )


def _list_open_points(entry: WorkflowEntry, blocked: frozenset[_ModelKey]) -> Iterator[tuple[OpenPoint, str]]:
    if entry.status is WorkflowStatus.INVALID:
        yield OpenPoint.FILE, ""
    if entry.obstacle is not None:
        yield OpenPoint.UNKNOWN, entry.obstacle.path
    for node in entry.missing_nodes:
        point = _find_node_point(node)
        if point is not None:
            yield point, _name_node(node, point)
    for model in entry.missing_models:
        point = _find_model_point(model, blocked)
        if point is not None:
            yield point, model.name
    for refused in entry.refused_inputs:
        yield OpenPoint.EDIT, f"{refused.node_type}: {refused.input}"
    for missing in entry.missing_inputs:
        if missing.required:
            yield (OpenPoint.UNKNOWN if missing.obstacle is not None else OpenPoint.INPUT), missing.name
    yield from _list_problem_points(entry)


def _list_problem_points(entry: WorkflowEntry) -> Iterator[tuple[OpenPoint, str]]:
    """Yield a point for each problem that may hide a need; those of ComfyUI itself are repaired by an action."""
    for problem in entry.problems:
        if problem.code in _EDIT_CODES:
            yield OpenPoint.EDIT, problem.message
        elif problem.code == INPUT_UNCHECKED or (problem.code in INCOMPLETE_READ_CODES and entry.obstacle is None):
            yield OpenPoint.UNKNOWN, problem.message


def _find_node_point(node: MissingNode) -> OpenPoint | None:
    if node.state in _IMPORT_STATES:
        return OpenPoint.REPAIR_PACK
    if node.remedy in {NodeRemedy.UPDATE_COMFYUI, NodeRemedy.INSTALL_PACK}:
        return None
    return _REMEDY_POINTS.get(node.remedy, OpenPoint.UNKNOWN)


def _name_node(node: MissingNode, point: OpenPoint) -> str:
    """Return the pack to repair, else the class."""
    if point is OpenPoint.REPAIR_PACK and node.packages:
        return node.packages[0].title or node.packages[0].id
    return node.class_type


def _find_model_point(model: MissingModel, blocked: frozenset[_ModelKey]) -> OpenPoint | None:
    if model.needs_edit:
        return OpenPoint.EDIT
    if _find_model_action(model, blocked) is not None:
        return None
    if model.status in _EDITED_STATES:
        return OpenPoint.EDIT
    return OpenPoint.UNKNOWN
