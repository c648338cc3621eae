"""Run every check of a governed environment."""

from __future__ import annotations

from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.gpu.driver import GpuDriver
from comfywatchman.base.text import os_error_text
from comfywatchman.governance.checks import (
    comfyui_requirements,
    conflicts,
    deny_list,
    filesystem,
    gpu_driver,
    journal,
    listening,
    lock,
    nodes,
    pack_requirements,
    production,
    running_environment,
    start,
    storage,
    transactions,
    truth_files,
    unregistered_nodes,
)
from comfywatchman.governance.checks.check_cache import CheckCache
from comfywatchman.governance.checks.context import Check, CheckBudget, CheckContext
from comfywatchman.governance.checks.result import CheckResult, CheckStatus
from comfywatchman.governance.environments.context import GovContext

CHECKS: Final = (
    journal.CHECK,
    truth_files.CHECK,
    lock.CHECK,
    production.CHECK,
    start.CHECK,
    comfyui_requirements.CHECK,
    running_environment.CHECK,
    gpu_driver.CHECK,
    deny_list.CHECK,
    nodes.CHECK,
    pack_requirements.CHECK,
    unregistered_nodes.CHECK,
    transactions.CHECK,
    conflicts.CHECK,
    listening.CHECK,
    storage.CHECK,
    filesystem.CHECK,
)
"""The checks in the order of their results; those that can keep ComfyUI from starting come first."""

_WORST_FIRST: Final[tuple[CheckStatus, ...]] = ("fail", "warn", "unknown", "ok")


def run_checks(
    gov: GovContext, *, driver: GpuDriver, budget_seconds: float | None, is_full: bool = False
) -> tuple[CheckResult, ...]:
    """Run every check and save the cache of the checks; nothing else is written.

    Args:
        gov: The governed root, opened for reading.
        driver: The GPU driver.
        budget_seconds: About how long the checks may take; a check without enough time is `unknown`. None looks at
            everything, however long it takes, and runs uv where the lock may not match.
        is_full: Whether installed files are read again that were verified and not written since.

    Returns:
        One result per check, in the order of `CHECKS`.
    """
    cache = CheckCache.read(gov.layout.check_cache)
    context = CheckContext(gov, driver, cache, CheckBudget.start(gov.clock, budget_seconds, is_full=is_full))
    results = tuple(_run_safely(check, context) for check in CHECKS)
    cache.save()
    return results


def find_worst_status(results: tuple[CheckResult, ...]) -> CheckStatus:
    """Return the worst status of the results; `unknown` is worse than `ok`."""
    return min((result.status for result in results), key=_WORST_FIRST.index, default="ok")


def _run_safely(check: Check, context: CheckContext) -> CheckResult:
    try:
        return check.run(context)
    except Failure as failure:
        reason = failure.message
    except OSError as error:
        reason = os_error_text(error)
    return CheckResult(name=check.name, status="unknown", evidence=f"Not checked: {reason}")
