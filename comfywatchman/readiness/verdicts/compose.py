"""The final verdict of a workflow. Pure: models, nodes, inputs, environment and search results are passed in."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from comfywatchman.readiness.states import NO_RESULT_DOUBTS, WorkflowStatus
from comfywatchman.readiness.status import (
    NOT_GOVERNED,
    Environment,
    EnvironmentCheck,
    FileProblem,
    MissingInput,
    StartProblem,
    WorkflowEntry,
)
from comfywatchman.readiness.verdicts.workflow import WorkflowVerdict

ENVIRONMENT_FAILED: Final = "environment-failed"
"""Problem code of a workflow that has its models and nodes, in an environment that may not run it."""

COMFYUI_EXITS: Final = "comfyui-exits"
"""Problem code of a workflow that has its models and nodes, for a ComfyUI that exits at its start."""


@dataclass(frozen=True, slots=True)
class FinalVerdict:
    """The verdict with everything counted in.

    Attributes:
        status: Whether the workflow runs on this host.
        uncertain_count: How many findings leave open whether something is missing.
        problems: The problems of the file, and of the environment where that changes the status.
    """

    status: WorkflowStatus
    uncertain_count: int
    problems: tuple[FileProblem, ...]


def compose_verdict(
    host: WorkflowVerdict | WorkflowEntry,
    missing_inputs: Iterable[MissingInput],
    *,
    environment: Environment = NOT_GOVERNED,
    start_problems: Sequence[StartProblem] = (),
    is_server_running: bool = False,
) -> FinalVerdict:
    """Compose the final verdict from models, nodes, inputs, environment and search results.

    Args:
        host: The verdict from models and nodes (and from the rules of a running server), with the search result of
            each missing model that has one.
        missing_inputs: Files of the user that are not there, or could not be looked for; only required ones count.
        environment: The checks of the Python environment.
        start_problems: Faults of the configuration on which ComfyUI exits at its start.
        is_server_running: Whether a server of this installation answered. It has proved that it starts, so failed
            checks and start problems then leave the verdict alone and only appear at the top of the report.
    """
    status, problems = host.status, host.problems
    # The search never changes the status: a file that can be downloaded is still missing here.
    # One that no words led to is not in doubt: there is nothing to choose and nothing to look at.
    doubtful = [model for model in host.missing_models if model.doubt not in NO_RESULT_DOUBTS]
    uncertain_count = host.uncertain_count + sum(model.answer == "UNCERTAIN" for model in doubtful)
    required = [missing for missing in missing_inputs if missing.required]
    unknown_count = sum(missing.obstacle is not None for missing in required)
    uncertain_count += unknown_count
    if status is not WorkflowStatus.INVALID and unknown_count < len(required):
        status = WorkflowStatus.MISSING
    elif status is WorkflowStatus.READY and unknown_count:
        status = WorkflowStatus.UNCERTAIN
    obstacle = _find_obstacle(environment, start_problems, host.unconfirmed_packs)
    # An obstacle makes READY doubtful; every other status has a reason of its own that goes before.
    if status is WorkflowStatus.READY and obstacle is not None and not is_server_running:
        status = WorkflowStatus.UNCERTAIN
        uncertain_count += 1
        problems = (*problems, obstacle)
    return FinalVerdict(status, uncertain_count, problems)


def compose_entry(
    entry: WorkflowEntry,
    environment: Environment,
    start_problems: Sequence[StartProblem] = (),
    *,
    is_server_running: bool,
) -> WorkflowEntry:
    """Return a report entry with its final verdict in place of the one from models and nodes."""
    final = compose_verdict(
        entry,
        entry.missing_inputs,
        environment=environment,
        start_problems=start_problems,
        is_server_running=is_server_running,
    )
    return msgspec.structs.replace(
        entry, status=final.status, uncertain_count=final.uncertain_count, problems=final.problems
    )


def describe_start_problem(problem: StartProblem) -> str:
    """Describe a fault on which ComfyUI exits at its start, in one sentence."""
    line = f", line {problem.line}" if problem.line is not None else ""
    return f"ComfyUI cannot start with {problem.path}{line}: {problem.reason}."


def _find_obstacle(
    environment: Environment, start_problems: Sequence[StartProblem], packs: Collection[str]
) -> FileProblem | None:
    """Return why ComfyUI may not start, or not run the packs of a workflow; None when no reason is known.

    A start that imported a pack has proved that it has the packages it needs, so only other packs are passed in.
    """
    if start_problems:
        message = f"Models and nodes are here, but {describe_start_problem(start_problems[0])}"
        return FileProblem(COMFYUI_EXITS, message)
    for check in environment.checks:
        is_concerned = check.vital or not set(packs).isdisjoint(check.packs)
        if is_concerned and check.status == "fail":
            return _build_environment_problem(check)
    return None


def _build_environment_problem(check: EnvironmentCheck) -> FileProblem:
    return FileProblem(
        ENVIRONMENT_FAILED, f"Models and nodes are here, but the Python environment may not run it: {check.evidence}"
    )
