from __future__ import annotations

import pytest

from comfywatchman.base.files import to_json, write_atomic
from comfywatchman.base.lock import hold_lock
from comfywatchman.governance.checks.transaction_facts import TransactionFacts
from comfywatchman.governance.checks.transactions import judge
from comfywatchman.governance.store.conflict_records import ConflictReport
from comfywatchman.governance.store.records import TransactionStatus
from tests.governance.checks.checked_site import run_checks_on, write_record
from tests.governance.contexts import Site


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


def test_open_transactions_and_conflicts_are_named(site: Site) -> None:
    write_record(site, "20261120T120000Z-00000001", "needs_resolution")
    write_record(site, "20261120T120000Z-00000002", "running")
    (site.layout.transactions / "20261120T120000Z-00000003.json").write_text("{")
    report = ConflictReport(
        txid="20261120T120000Z-00000001",
        node_id="depth",
        created_at="2026-11-20T12:00:00Z",
        kind="conflict",
        confidence="verified",
        summary="They clash.",
    )
    write_atomic(site.layout.conflicts / f"{report.txid}.json", to_json(report))
    for _ in range(2):
        results = run_checks_on(site)
        assert results["transactions"].items == ("20261120T120000Z-00000001", "20261120T120000Z-00000002")
        assert results["conflicts"].items == ("20261120T120000Z-00000001",)
    with hold_lock(site.layout.process_lock, command="tx run depth", clock=site.clock):
        assert run_checks_on(site)["transactions"].items == ("20261120T120000Z-00000001",)
