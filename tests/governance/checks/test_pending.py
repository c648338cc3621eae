from __future__ import annotations

import pytest

from comfywatchman.governance.checks.pending import (
    OpenTransaction,
    StorageFacts,
    judge_conflicts,
    judge_listening,
    judge_storage,
    judge_transactions,
)
from comfywatchman.governance.store.records import TransactionStatus


@pytest.mark.parametrize("status", ["promoted", "aborted", "failed"])
def test_a_transaction_that_is_over_waits_for_nobody(status: TransactionStatus) -> None:
    assert judge_transactions([OpenTransaction("t", "depth", status)]).status == "ok"


def test_a_running_transaction_waits_only_when_its_process_is_gone() -> None:
    assert judge_transactions([OpenTransaction("t", "depth", "running", is_alive=True)]).status == "ok"
    assert judge_transactions([OpenTransaction("t", "depth", "running")]).action == "gov tx abort t"


def test_the_most_pressing_transaction_gives_the_command() -> None:
    result = judge_transactions([OpenTransaction("a", "x", "completed"), OpenTransaction("b", "y", "needs_resolution")])
    assert result.status == "warn"
    assert result.action == "gov resolve b"
    assert result.items == ("a", "b")


def test_superseded_transaction_is_ignored() -> None:
    later = [OpenTransaction("b", "depth", "promoted"), OpenTransaction("a", "depth", "completed")]
    assert judge_transactions(later).status == "ok"


def test_unresolved_conflict_with_report_is_open() -> None:
    transactions = [
        OpenTransaction("a", "x", "needs_resolution"),
        OpenTransaction("b", "y", "resolved"),
        OpenTransaction("c", "z", "needs_resolution"),
    ]
    result = judge_conflicts(transactions, ["a", "b"])
    assert (result.status, result.items) == ("warn", ("a",))
    assert "1 transaction " in result.evidence
    assert "2 transactions " in judge_conflicts(transactions, ["a", "c"]).evidence
    assert judge_conflicts(transactions, ["b"]).status == "ok"


def test_a_comfyui_that_other_machines_reach_is_a_warning() -> None:
    assert judge_listening(None).status == "unknown"
    assert judge_listening([]).status == "ok"
    assert "0.0.0.0:8188" in judge_listening(["0.0.0.0:8188"]).evidence


@pytest.mark.parametrize(
    ("facts", "status", "said"),
    [
        (
            StorageFacts(1, 50, environments=1, used_bytes=1 << 20),
            "ok",
            "1 snapshot (at most 50 are kept), 1 environment, 1.0 MiB",
        ),
        (
            StorageFacts(2, 50, environments=2),
            "unknown",
            "2 snapshots (at most 50 are kept), 2 environments, an uncounted size",
        ),
        (StorageFacts(2, 50, used_bytes=0, free_bytes=1 << 30), "warn", "Only 1.00 GiB are free"),
        (StorageFacts(2, 50, used_bytes=0, free_bytes=8 << 30), "ok", "0 environments, 0 B."),
        (StorageFacts(2, 50, damaged=("s1",), used_bytes=0, free_bytes=8 << 30), "warn", "no rollback is possible: s1"),
    ],
)
def test_what_is_kept_is_counted(facts: StorageFacts, status: str, said: str) -> None:
    result = judge_storage(facts)
    assert result.status == status
    assert said in result.evidence
