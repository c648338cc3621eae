from __future__ import annotations

from pathlib import Path

from comfywatchman.base.clock import SystemClock
from comfywatchman.base.files import to_json, write_atomic
from comfywatchman.base.lock import hold_lock
from comfywatchman.governance.checks.check_cache import CheckCache
from comfywatchman.governance.checks.transaction_facts import TransactionFacts, read_transaction_facts
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.records import Transaction

TXID = "20261120T120000Z-0000000a"


def record(layout: GovLayout) -> None:
    transaction = Transaction(txid=TXID, node_id="depth", started_at="2026-11-20T12:00:00Z", status="running")
    write_atomic(layout.transactions / f"{TXID}.json", to_json(transaction))


def read(layout: GovLayout) -> tuple[TransactionFacts, ...]:
    cache = CheckCache.read(layout.check_cache)
    facts = read_transaction_facts(layout, cache)
    cache.save()
    return facts


def test_transaction_may_be_running_only_while_the_lock_is_held(tmp_path: Path) -> None:
    layout = GovLayout(tmp_path)
    record(layout)
    assert read(layout) == (TransactionFacts(TXID, "depth", "running"),)
    with hold_lock(layout.process_lock, command="test", clock=SystemClock()):
        assert read(layout) == (TransactionFacts(TXID, "depth", "running", is_alive=True),)


def test_unchanged_record_comes_from_the_cache(tmp_path: Path) -> None:
    layout = GovLayout(tmp_path)
    record(layout)
    read(layout)
    stamp, _node, status = CheckCache.read(layout.check_cache).stored.transactions[TXID]
    cache = CheckCache.read(layout.check_cache)
    cache.stored.transactions[TXID] = (stamp, "from the cache", status)
    assert read_transaction_facts(layout, cache)[0].node_id == "from the cache"


def test_damaged_records_and_other_files_are_left_out(tmp_path: Path) -> None:
    layout = GovLayout(tmp_path)
    record(layout)
    (layout.transactions / "damaged.json").write_bytes(b"{")
    (layout.transactions / f"{TXID}.json.tmp").write_bytes(b"{}")
    (layout.transactions / "notes").write_bytes(b"")
    assert [facts.txid for facts in read(layout)] == [TXID]
