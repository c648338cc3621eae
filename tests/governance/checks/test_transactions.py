from __future__ import annotations

import pytest

from comfywatchman.governance.checks.transaction_facts import TransactionFacts
from comfywatchman.governance.checks.transactions import judge
from comfywatchman.governance.store.records import TransactionStatus


@pytest.mark.parametrize("status", ["promoted", "aborted", "failed"])
def test_closed_transaction_does_not_wait(status: TransactionStatus) -> None:
    assert judge([TransactionFacts("t", "depth", status)]).status == "ok"


def test_running_transaction_waits_only_without_a_process() -> None:
    assert judge([TransactionFacts("t", "depth", "running", is_alive=True)]).status == "ok"
    assert judge([TransactionFacts("t", "depth", "running")]).action == "gov tx abort t"


def test_most_pressing_transaction_gives_the_command() -> None:
    result = judge([TransactionFacts("a", "x", "completed"), TransactionFacts("b", "y", "needs_resolution")])
    assert (result.status, result.action, result.items) == ("warn", "gov resolve b", ("a", "b"))
    assert result.evidence == "y waits for pins (b), x waits to be promoted (a)."


def test_superseded_transaction_is_ignored() -> None:
    later = [TransactionFacts("b", "depth", "promoted"), TransactionFacts("a", "depth", "completed")]
    assert judge(later).status == "ok"
