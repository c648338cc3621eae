"""What the checks of the governed Python environment mean for the verdicts of workflows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.gpu.query import GpuReading
from comfywatchman.readiness.context import CycleContext
from comfywatchman.readiness.states import WorkflowStatus
from comfywatchman.readiness.status import NOT_GOVERNED, Environment, EnvironmentCheck, FileProblem, WorkflowEntry

ENVIRONMENT_FAILED: Final = "environment-failed"
"""Code of the problem of a workflow that has all it needs, in an environment that may not run it."""


def run_environment_checks(run: CycleContext, gpus: GpuReading) -> Environment:
    """Return what the checks say; checks that cannot be made are unknown, and never end a cycle."""
    checks = run.request.environment_checks
    if checks is None:
        return NOT_GOVERNED
    with run.phase("environment"):
        try:
            return checks(gpus)
        except (Failure, OSError) as error:
            reason = error.message if isinstance(error, Failure) else (error.strerror or str(error))
            return Environment(state="unknown", checks=(EnvironmentCheck("checks", "unknown", reason, "gov check"),))


def apply_environment(
    entries: tuple[WorkflowEntry, ...], environment: Environment, *, is_running: bool
) -> tuple[WorkflowEntry, ...]:
    """Take READY away where the environment may not run what is ready.

    A workflow has its models and its nodes, but production lacks packages, or its torch cannot use the driver: whether
    it runs is not known, so it is UNCERTAIN. A running server has proved that its environment starts; then the
    verdicts stand, and only the report's top says what fails.

    Args:
        entries: The verdicts by models and nodes.
        environment: What the checks say.
        is_running: Whether a server of this installation answered.
    """
    failed = next(_find_vital_failures(environment), None)
    if failed is None or is_running:
        return entries
    problem = FileProblem(
        ENVIRONMENT_FAILED, f"Models and nodes are here, but the Python environment may not run it: {failed.evidence}"
    )
    return tuple(
        _mark_uncertain(entry, problem) if entry.status is WorkflowStatus.READY else entry for entry in entries
    )


def _find_vital_failures(environment: Environment) -> Iterator[EnvironmentCheck]:
    return (check for check in environment.checks if check.vital and check.status == "fail")


def _mark_uncertain(entry: WorkflowEntry, problem: FileProblem) -> WorkflowEntry:
    return msgspec.structs.replace(
        entry,
        status=WorkflowStatus.UNCERTAIN,
        uncertain_count=entry.uncertain_count + 1,
        problems=(*entry.problems, problem),
    )
