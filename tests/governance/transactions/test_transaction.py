from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import to_json, write_atomic
from comfywatchman.base.lock import hold_lock
from comfywatchman.governance.store.ids import make_transaction_id
from comfywatchman.governance.store.records import Transaction
from comfywatchman.governance.transactions import transaction
from tests.governance.contexts import Site, build_site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = build_site(tmp_path, init=False)
    for folder in (site.layout.transactions, site.layout.logs):
        folder.mkdir(parents=True)
    return site


def save_record(site: Site, **changes: Any) -> Transaction:
    """Write a transaction as if it had been run."""
    facts: dict[str, Any] = {"node_id": "pack", "started_at": "2026-11-20T12:00:00Z", "status": "completed"}
    record = Transaction(txid=make_transaction_id(site.clock), **{**facts, **changes})
    write_atomic(site.layout.transactions / f"{record.txid}.json", to_json(record))
    (site.layout.candidates / record.txid).mkdir(parents=True)
    return record


@pytest.mark.parametrize("status", ["completed", "failed", "needs_resolution", "resolved", "promote_failed", "running"])
def test_open_transaction_can_be_aborted(site: Site, status: str) -> None:
    record = save_record(site, status=status)
    assert transaction.abort(site.layout, site.clock, record.txid).status == "aborted"
    assert transaction.read(site.layout, record.txid).status == "aborted"
    assert not (site.layout.candidates / record.txid).exists()


@pytest.mark.parametrize("status", ["promoted", "aborted"])
def test_closed_transaction_cannot_be_aborted(site: Site, status: str) -> None:
    record = save_record(site, status=status)
    with pytest.raises(Failure) as caught:
        transaction.abort(site.layout, site.clock, record.txid)
    assert caught.value.code == "gov-transaction-state"
    assert transaction.read(site.layout, record.txid) == record


@pytest.mark.parametrize("txid", ["absent", "../plugins", "20261120T120000Z-00000000", ""])
def test_unknown_transaction_is_reported(site: Site, txid: str) -> None:
    with pytest.raises(Failure, match="transaction not found") as caught:
        transaction.read(site.layout, txid)
    assert caught.value.code == "gov-transaction-unknown"


def test_damaged_record_is_skipped_and_kept(site: Site) -> None:
    path = site.layout.transactions / f"{make_transaction_id(site.clock)}.json"
    path.write_text("{")
    assert transaction.read_all(site.layout) == ()
    assert path.read_text() == "{"


def test_running_transaction_reads_as_failed_without_a_process(site: Site) -> None:
    record = save_record(site, status="running")
    assert transaction.read(site.layout, record.txid).status == "failed"
    with hold_lock(site.layout.process_lock, command="tx run pack", clock=site.clock):
        assert transaction.read(site.layout, record.txid) == record


def test_interrupted_transaction_is_recorded_as_failed(site: Site) -> None:
    interrupted, completed = save_record(site, status="running"), save_record(site)
    transaction.mark_interrupted(site.layout, site.clock)
    failed = transaction.read(site.layout, interrupted.txid)
    assert failed.error == "The run was interrupted. Try again: gov tx run pack"
    assert failed.ended_at is not None
    assert not (site.layout.candidates / interrupted.txid).exists()
    assert transaction.read(site.layout, completed.txid) == completed
    assert (site.layout.candidates / completed.txid).exists()


def test_prune_keeps_the_newest_transactions_and_candidates(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transaction, "_MAX_TRANSACTIONS", 5)
    statuses = ["completed"] * 7 + ["promoted"]
    records = sorted((save_record(site, status=status) for status in statuses), key=lambda record: record.txid)
    (site.layout.logs / f"{records[0].txid}.stdout.log").write_text("old")
    transaction.prune(site.layout)
    assert [record.txid for record in transaction.read_all(site.layout)] == [record.txid for record in records[-5:]]
    assert list(site.layout.logs.iterdir()) == []
    candidates = {path.name for path in site.layout.candidates.iterdir()}
    assert candidates == {record.txid for record in [one for one in records if one.status == "completed"][-3:]}
