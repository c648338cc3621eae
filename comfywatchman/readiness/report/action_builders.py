"""One recommended action, built from one finding of the report. Pure."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final, Literal

from comfywatchman.base.text import format_size
from comfywatchman.comfyui.install.reachability import Obstacle, describe_remedy
from comfywatchman.readiness.states import LOCALLY_FIXABLE_STATES, MODEL_STATE_TEXT
from comfywatchman.readiness.status import (
    NOTHING_TO_RUN,
    EnvironmentCheck,
    MissingInput,
    MissingModel,
    MissingNode,
    ModelCandidate,
    PlanSummary,
    ProviderPackage,
    RefusedInput,
    StartProblem,
    WorkflowEntry,
)
from comfywatchman.readiness.verdicts.findings import is_certain

ActionKind = Literal["start", "environment", "mend", "folder", "node", "download", "model", "choice", "input", "file"]

NEEDS_NEWER_COMFYUI: Final = "needs_newer_comfyui"
_NODE_REASONS: Final = {
    "missing": "missing node classes",
    "import_failed": "its import failed",
    "not_listed": "ComfyUI does not list its classes",
    NEEDS_NEWER_COMFYUI: "node classes of a newer ComfyUI",
}


@dataclass(frozen=True, slots=True)
class Action:
    """One recommended action.

    Attributes:
        kind: `start` (a fault on which ComfyUI exits at its start), `environment` (a failed check), `mend` (a model
            that is here under another name or in another place), `folder` (cannot be read), `node`, `download`,
            `model`, `choice` (an input that the server refuses), `input` or `file`.
        what: Node package, how many models, model name, name of an input file, or workflow file.
        instruction: Next step, for people.
        because: The reason, for people.
        workflows: Paths of the workflows that need it.
        candidates: Addresses from which a model may be had.
        packages: Providers of a node class, when there are several.
        is_sure: Whether something is certainly missing.
        models: The models that one download fetches together.
    """

    kind: ActionKind
    what: str
    instruction: str
    because: str
    workflows: tuple[str, ...] = ()
    candidates: tuple[ModelCandidate, ...] = ()
    packages: tuple[ProviderPackage, ...] = ()
    is_sure: bool = True
    models: tuple[str, ...] = ()


def plan_command(plan: PlanSummary) -> str:
    """Return the command that fetches a plan."""
    return f"comfywatchman download --plan {plan.file.rpartition('/')[2]}"


def build_start_action(problem: StartProblem) -> Action:
    """Build the action for a fault on which ComfyUI exits at its start."""
    line = f"Line {problem.line}: " if problem.line is not None else ""
    return Action(
        kind="start",
        what=problem.path,
        instruction=f"{line}{problem.fix}",
        because=f"ComfyUI cannot start with it: {problem.reason}",
    )


def build_environment_action(check: EnvironmentCheck) -> Action:
    """Build the action for a failed check of the Python environment."""
    return Action(
        kind="environment",
        what=f"Python environment ({check.name})",
        instruction=check.action or "gov check says more.",
        because=check.evidence,
    )


def build_node_action(node: MissingNode) -> Action:
    """Build the action for a node class that is not ready."""
    if node.state == NEEDS_NEWER_COMFYUI:
        what = "ComfyUI"
    elif len(node.packages) == 1:
        what = node.packages[0].id
    else:
        what = node.class_type
    return Action(
        kind="node",
        what=what,
        instruction=node.fix or "Find the package that provides it.",
        because=_NODE_REASONS.get(node.state, "node classes of unknown origin"),
        packages=node.packages,
        is_sure=node.state != "unknown",
    )


def build_download_action(plan: PlanSummary) -> Action:
    """Build the action that downloads everything that a plan holds."""
    size = f" ({format_size(plan.total_bytes)} as far as sizes are known)" if plan.total_bytes else ""
    return Action(
        kind="download",
        what="",
        instruction=f"Fetch all of them{size}: {plan_command(plan)}",
        because="found, each proved by its hash",
    )


def build_model_action(model: MissingModel) -> Action:
    """Build the action for a model that is not ready."""
    return Action(
        kind="mend" if model.status in LOCALLY_FIXABLE_STATES else "model",
        what=model.name,
        instruction=model.fix or "",
        because=f"a model of {model.folder or 'an unknown folder'}, {MODEL_STATE_TEXT[model.status]}",
        candidates=model.candidates,
        is_sure=is_certain(model.confidence, model.status),
    )


def build_model_folder_action(obstacle: Obstacle) -> Action:
    """Build the action for a place where models could not be looked for."""
    return Action(
        kind="folder",
        what=obstacle.path,
        instruction=describe_remedy(obstacle),
        because="whether models are there is not known, so none of them is searched or fetched",
    )


def build_choice_action(refused: RefusedInput) -> Action:
    """Build the action for an input that the running server refuses."""
    return Action(
        kind="choice",
        what=f"{refused.node_type}: {refused.input}",
        instruction=refused.fix,
        # Reports of earlier versions do not describe the problem.
        because=f"this input {refused.problem or 'is refused'}",
    )


def build_input_action(missing: MissingInput) -> Action:
    """Build the action for a missing file of the user."""
    return Action(
        kind="input",
        what=missing.name,
        instruction=missing.fix,
        because=f"a {missing.kind} that is not in ComfyUI's {missing.folder} folder",
    )


def build_folder_action(entry: WorkflowEntry) -> Action:
    """Build the action for a workflow folder that cannot be read at the moment."""
    return Action(
        kind="folder",
        what=os.path.dirname(entry.path),
        instruction="Mount its disk or check its permissions; what lies there is judged again once it can be read.",
        because="a workflow folder that cannot be read at the moment",
    )


def build_file_action(entry: WorkflowEntry) -> Action:
    """Build the action for an invalid workflow file."""
    has_nothing_to_run = any(problem.code == NOTHING_TO_RUN for problem in entry.problems)
    if has_nothing_to_run:
        instruction = "Add a node that saves or shows the result, or move the file out of the workflow folder."
    else:
        instruction = "Repair the file, or move it out of the workflow folder."
    return Action(
        kind="file",
        what=entry.path,
        instruction=instruction,
        because=entry.problems[0].message if entry.problems else "cannot be read",
    )
