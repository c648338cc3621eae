"""Check `conflicts`: is a version conflict between packages, found by uv, unresolved?"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from comfywatchman.base.text import pluralize
from comfywatchman.governance.checks.check_cache import list_names
from comfywatchman.governance.checks.context import Check, CheckContext
from comfywatchman.governance.checks.result import CheckResult, shorten_names
from comfywatchman.governance.checks.transaction_facts import TransactionFacts


def judge(transactions: Iterable[TransactionFacts], reports: Collection[str]) -> CheckResult:
    """Judge whether conflicts between packages are unresolved.

    Args:
        transactions: The transactions.
        reports: The ids of the transactions that have a conflict report.
    """
    unresolved = sorted(
        transaction.txid
        for transaction in transactions
        if transaction.status == "needs_resolution" and transaction.txid in reports
    )
    if not unresolved:
        return CheckResult(name=CHECK.name, status="ok", evidence="No conflict between packages is open.")
    return CheckResult(
        name=CHECK.name,
        status="warn",
        evidence=f"Packages of {pluralize(len(unresolved), 'transaction')} cannot be installed "
        f"together with what is locked: {shorten_names(unresolved)}.",
        action=f"gov resolve {unresolved[0]}",
        items=tuple(unresolved),
    )


def _run(context: CheckContext) -> CheckResult:
    reports = {name.removesuffix(".json") for name in list_names(context.layout.conflicts)}
    return judge(context.transactions, reports)


CHECK = Check("conflicts", _run)
