from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from comfywatchman.base.files import to_json, write_atomic
from comfywatchman.base.state.state_file import CorruptFile, read_state
from comfywatchman.governance.store.records import Transaction, TransactionStatus

TXID = "20261120T120000Z-0000000a"


@pytest.mark.parametrize("status", TransactionStatus.__args__)  # type: ignore[attr-defined]
def test_transaction_is_read_back_as_it_was_written(status: TransactionStatus, tmp_path: Path) -> None:
    transaction = Transaction(txid=TXID, node_id="depth", started_at="2026-11-20T12:00:00Z", status=status)
    write_atomic(tmp_path / "record.json", to_json(transaction))
    assert read_state(tmp_path / "record.json", Transaction) == transaction


def test_unknown_status_is_damage_and_not_a_guess(tmp_path: Path) -> None:
    transaction = Transaction(txid=TXID, node_id="depth", started_at="2026-11-20T12:00:00Z", status="running")
    document = {**msgspec.to_builtins(transaction), "status": "flying"}
    write_atomic(tmp_path / "record.json", to_json(document))
    assert isinstance(read_state(tmp_path / "record.json", Transaction), CorruptFile)
