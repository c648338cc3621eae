"""Check `transactions`: does a transaction wait for a decision?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from comfywatchman.governance.checks.context import Check, CheckContext
from comfywatchman.governance.checks.result import CheckResult, shorten_names
from comfywatchman.governance.checks.transaction_facts import TransactionFacts
from comfywatchman.governance.store.status_policy import PENDING_STATUSES, STATUS_POLICIES


def judge(transactions: Iterable[TransactionFacts]) -> CheckResult:
    """Judge whether transactions wait for a decision. The newest one of a node supersedes its others."""
    waiting = [transaction for transaction in _find_newest(transactions) if _is_waiting(transaction)]
    if not waiting:
        return CheckResult(name=CHECK.name, status="ok", evidence="No transaction waits for anybody.")
    order = list(STATUS_POLICIES)
    waiting.sort(key=lambda transaction: (order.index(transaction.status), transaction.txid))
    most_pressing = waiting[0]
    command = STATUS_POLICIES[most_pressing.status].command
    return CheckResult(
        name=CHECK.name,
        status="warn",
        evidence=f"{shorten_names(_describe(waiting))}.",
        action=command.format(txid=most_pressing.txid),
        items=tuple(sorted(transaction.txid for transaction in waiting)),
    )


def _find_newest(transactions: Iterable[TransactionFacts]) -> list[TransactionFacts]:
    newest: dict[str, TransactionFacts] = {}
    # Transaction ids begin with the time.
    for transaction in sorted(transactions, key=lambda transaction: transaction.txid):
        newest[transaction.node_id] = transaction
    return list(newest.values())


def _is_waiting(transaction: TransactionFacts) -> bool:
    if transaction.status == "running":
        return not transaction.is_alive
    return transaction.status in PENDING_STATUSES


def _describe(transactions: Iterable[TransactionFacts]) -> Sequence[str]:
    texts = []
    for transaction in transactions:
        waiting = STATUS_POLICIES[transaction.status].waiting
        texts.append(f"{transaction.node_id} {waiting} ({transaction.txid})")
    return texts


def _run(context: CheckContext) -> CheckResult:
    return judge(context.transactions)


CHECK = Check("transactions", _run)
