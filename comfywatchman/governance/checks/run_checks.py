"""Making all checks of a governed environment, each guarded: one that cannot be made is unknown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.gpu.driver import Driver
from comfywatchman.base.text import reason_of
from comfywatchman.comfyui.server.listening import exposures
from comfywatchman.governance.checks.check_cache import Budget, Memory
from comfywatchman.governance.checks.collect import (
    Look,
    denied_things,
    filesystem_facts,
    journal_facts,
    lock_facts,
    node_facts,
    production_facts,
    storage_facts,
    transaction_facts,
)
from comfywatchman.governance.checks.nodes import nodes_result, unregistered_result
from comfywatchman.governance.checks.packages import deny_result, driver_result, production_result
from comfywatchman.governance.checks.pending import (
    conflicts_result,
    listening_result,
    storage_result,
    transactions_result,
)
from comfywatchman.governance.checks.result import CheckResult, Status
from comfywatchman.governance.checks.truth import filesystem_result, journal_result, lock_result
from comfywatchman.governance.environments.context import Ground

Results = tuple[CheckResult, ...]


def make_checks(ground: Ground, *, driver: Driver, budget_seconds: float | None) -> Results:
    """Make every check; nothing but the cache of checks is written.

    Args:
        ground: The governed root, merely looked at.
        driver: The GPU driver.
        budget_seconds: About how long it may take; what there is no time for is unknown. None to look at everything
            anew, however long it takes, and to ask uv where that is needed.
    """
    memory = Memory.read(ground.layout.checks_memory)
    look = Look(ground, driver, memory, Budget.of(ground.clock, budget_seconds))
    results = tuple(result for names, make in _CHECKS for result in _guarded(names, make, look))
    memory.save()
    return results


def worst(results: Results) -> Status:
    """Return the status of all checks together: the worst of them, what is unknown coming before what is well."""
    order: tuple[Status, ...] = ("fail", "warn", "unknown", "ok")
    return min((result.status for result in results), key=order.index, default="ok")


def _guarded(names: tuple[str, ...], make: Callable[[Look], Results], look: Look) -> Results:
    try:
        return make(look)
    except (Failure, OSError) as error:
        reason = error.message if isinstance(error, Failure) else reason_of(error)
        return tuple(CheckResult(name=name, status="unknown", evidence=f"Not checked: {reason}") for name in names)


def _lock(look: Look) -> Results:
    return (lock_result(lock_facts(look)),)


def _journal(look: Look) -> Results:
    is_left, is_under_lock, operation = journal_facts(look)
    return (journal_result(is_left=is_left, is_held=is_under_lock, operation=operation),)


def _packages(look: Look) -> Results:
    facts, packages = production_facts(look)
    _nodes_there, _strangers, plugins = node_facts(look)
    return (
        production_result(facts),
        driver_result(packages, look.driver),
        deny_result(denied_things(look, packages, plugins)),
    )


def _nodes(look: Look) -> Results:
    nodes, strangers, _plugins = node_facts(look)
    return nodes_result(nodes), unregistered_result(strangers)


def _transactions(look: Look) -> Results:
    transactions, reports = transaction_facts(look)
    return transactions_result(transactions), conflicts_result(transactions, reports)


def _listening(look: Look) -> Results:
    found = exposures(look.ground.comfyui)
    return (listening_result([f"{one.address}:{one.port}" if one.port else one.address for one in found]),)


def _storage(look: Look) -> Results:
    return (storage_result(storage_facts(look)),)


def _filesystem(look: Look) -> Results:
    return (filesystem_result(*filesystem_facts(look)),)


_CHECKS: Final[tuple[tuple[tuple[str, ...], Callable[[Look], Results]], ...]] = (
    (("journal",), _journal),
    (("lock",), _lock),
    (("production", "gpu-driver", "deny-list"), _packages),
    (("nodes", "unregistered-nodes"), _nodes),
    (("transactions", "conflicts"), _transactions),
    (("listening",), _listening),
    (("storage",), _storage),
    (("filesystem",), _filesystem),
)
"""Each check with the names of what it answers; what says that ComfyUI may not start comes first."""

NAMES: Final = tuple(name for names, _ in _CHECKS for name in names)
"""The checks in the order in which they are made."""
