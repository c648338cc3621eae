"""The checks of the governed Python environment, as a cycle runs them."""

from __future__ import annotations

from comfywatchman.base.errors import Failure
from comfywatchman.base.gpu.query import GpuReading
from comfywatchman.readiness.context import CycleContext
from comfywatchman.readiness.status import Environment, EnvironmentCheck


def run_environment_checks(cycle: CycleContext, gpus: GpuReading) -> Environment:
    """Run the environment checks of the request; a failure becomes the state `unknown` and never ends a cycle."""
    checks = cycle.request.environment_checks
    if checks is None:
        return cycle.request.ungoverned
    with cycle.phase("environment"):
        # Checks read files that another program may be changing; the report of models and nodes matters more.
        try:
            return checks(gpus)
        except Failure as failure:
            reason = failure.message
        except OSError as error:
            reason = error.strerror or str(error)
    return Environment(state="unknown", checks=(EnvironmentCheck("checks", "unknown", reason, "gov check"),))
