"""Check `transactions`: does a transaction wait for a decision?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from comfywatchman.governance.checks.context import Check, CheckContext
from comfywatchman.governance.checks.result import CheckResult, shorten_names
from comfywatchman.governance.checks.transaction_facts import TransactionFacts
from comfywatchman.governance.store.records import TransactionStatus

_WAITING_STATUSES: Final[dict[TransactionStatus, tuple[str, str]]] = {
    "needs_resolution": ("waits for pins", "gov resolve {txid}"),
    "promote_failed": ("could not be promoted", "gov tx inspect {txid}"),
    "completed": ("waits to be promoted", "gov tx promote {txid}"),
    "resolved": ("waits to be promoted", "gov tx promote {txid}"),
    "running": ("was cut off while it ran", "gov tx abort {txid}"),
}
"""The statuses that wait for a decision, the most pressing first: a description, and the next command."""


def judge(transactions: Iterable[TransactionFacts]) -> CheckResult:
    """Judge whether transactions wait for a decision. The newest one of a node supersedes its others."""
    waiting = [transaction for transaction in _find_newest(transactions) if _is_waiting(transaction)]
    if not waiting:
        return CheckResult(name=CHECK.name, status="ok", evidence="No transaction waits for anybody.")
    order = list(_WAITING_STATUSES)
    waiting.sort(key=lambda transaction: (order.index(transaction.status), transaction.txid))
    most_pressing = waiting[0]
    _description, command = _WAITING_STATUSES[most_pressing.status]
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
    return transaction.status in _WAITING_STATUSES


def _describe(transactions: Iterable[TransactionFacts]) -> Sequence[str]:
    texts = []
    for transaction in transactions:
        description, _command = _WAITING_STATUSES[transaction.status]
        texts.append(f"{transaction.node_id} {description} ({transaction.txid})")
    return texts


def _run(context: CheckContext) -> CheckResult:
    return judge(context.transactions)


CHECK = Check("transactions", _run)
