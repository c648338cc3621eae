"""Making all checks of a governed environment, each guarded: one that cannot be made is unknown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.gpu.driver import GpuDriver
from comfywatchman.base.text import os_error_text
from comfywatchman.comfyui.server.listening import find_exposures
from comfywatchman.governance.checks.check_cache import CheckBudget, CheckCache
from comfywatchman.governance.checks.collect import (
    CheckContext,
    collect_filesystem_facts,
    collect_journal_facts,
    collect_lock_facts,
    collect_node_facts,
    collect_production_facts,
    collect_storage_facts,
    collect_transactions,
    find_denied,
)
from comfywatchman.governance.checks.nodes import judge_nodes, judge_unregistered
from comfywatchman.governance.checks.packages import judge_deny_list, judge_driver, judge_production
from comfywatchman.governance.checks.pending import judge_conflicts, judge_listening, judge_storage, judge_transactions
from comfywatchman.governance.checks.result import CheckResult, CheckStatus
from comfywatchman.governance.checks.truth import judge_filesystem, judge_journal, judge_lock
from comfywatchman.governance.environments.context import GovContext

Results = tuple[CheckResult, ...]


def run_checks(ground: GovContext, *, driver: GpuDriver, budget_seconds: float | None) -> Results:
    """Make every check; nothing but the cache of checks is written.

    Args:
        ground: The governed root, merely looked at.
        driver: The GPU driver.
        budget_seconds: About how long it may take; what there is no time for is unknown. None to look at everything
            anew, however long it takes, and to ask uv where that is needed.
    """
    memory = CheckCache.read(ground.layout.check_cache)
    look = CheckContext(ground, driver, memory, CheckBudget.of(ground.clock, budget_seconds))
    results = tuple(result for names, make in _CHECKS for result in _run_guarded(names, make, look))
    memory.save()
    return results


def find_worst_status(results: Results) -> CheckStatus:
    """Return the status of all checks together: the worst of them, what is unknown coming before what is well."""
    order: tuple[CheckStatus, ...] = ("fail", "warn", "unknown", "ok")
    return min((result.status for result in results), key=order.index, default="ok")


def _run_guarded(names: tuple[str, ...], make: Callable[[CheckContext], Results], look: CheckContext) -> Results:
    try:
        return make(look)
    except (Failure, OSError) as error:
        reason = error.message if isinstance(error, Failure) else os_error_text(error)
        return tuple(CheckResult(name=name, status="unknown", evidence=f"Not checked: {reason}") for name in names)


def _check_lock(look: CheckContext) -> Results:
    return (judge_lock(collect_lock_facts(look)),)


def _check_journal(look: CheckContext) -> Results:
    is_left, is_under_lock, operation = collect_journal_facts(look)
    return (judge_journal(is_left=is_left, is_held=is_under_lock, operation=operation),)


def _check_packages(look: CheckContext) -> Results:
    facts, packages = collect_production_facts(look)
    _nodes_there, _strangers, plugins = collect_node_facts(look)
    return (
        judge_production(facts),
        judge_driver(packages, look.driver),
        judge_deny_list(find_denied(look, packages, plugins)),
    )


def _check_nodes(look: CheckContext) -> Results:
    nodes, strangers, _plugins = collect_node_facts(look)
    return judge_nodes(nodes), judge_unregistered(strangers)


def _check_transactions(look: CheckContext) -> Results:
    transactions, reports = collect_transactions(look)
    return judge_transactions(transactions), judge_conflicts(transactions, reports)


def _check_listening(look: CheckContext) -> Results:
    found = find_exposures(look.ground.comfyui)
    return (judge_listening([f"{one.address}:{one.port}" if one.port else one.address for one in found]),)


def _check_storage(look: CheckContext) -> Results:
    return (judge_storage(collect_storage_facts(look)),)


def _check_filesystem(look: CheckContext) -> Results:
    return (judge_filesystem(*collect_filesystem_facts(look)),)


_CHECKS: Final[tuple[tuple[tuple[str, ...], Callable[[CheckContext], Results]], ...]] = (
    (("journal",), _check_journal),
    (("lock",), _check_lock),
    (("production", "gpu-driver", "deny-list"), _check_packages),
    (("nodes", "unregistered-nodes"), _check_nodes),
    (("transactions", "conflicts"), _check_transactions),
    (("listening",), _check_listening),
    (("storage",), _check_storage),
    (("filesystem",), _check_filesystem),
)
"""Each check with the names of what it answers; what says that ComfyUI may not start comes first."""

NAMES: Final = tuple(name for names, _ in _CHECKS for name in names)
"""The checks in the order in which they are made."""
