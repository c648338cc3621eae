from __future__ import annotations

from comfywatchman.governance.checks.conflicts import judge
from comfywatchman.governance.checks.transaction_facts import TransactionFacts


def test_unresolved_conflict_with_report_is_open() -> None:
    transactions = [
        TransactionFacts("c", "z", "needs_resolution"),
        TransactionFacts("b", "y", "resolved"),
        TransactionFacts("a", "x", "needs_resolution"),
    ]
    result = judge(transactions, ["a", "b"])
    assert (result.status, result.items, result.action) == ("warn", ("a",), "gov resolve a")
    assert "1 transaction " in result.evidence
    assert "2 transactions " in judge(transactions, ["a", "c"]).evidence
    assert judge(transactions, ["a", "c"]).items == ("a", "c")
    assert judge(transactions, ["b"]).status == "ok"
