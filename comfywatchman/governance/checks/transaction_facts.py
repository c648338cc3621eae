"""The transactions of a governed root, read through the cache of the checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from comfywatchman.base.lock import is_held
from comfywatchman.base.state.state_file import read_state
from comfywatchman.governance.checks.check_cache import CheckCache, list_names, stamp_files
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.records import Transaction, TransactionStatus


@dataclass(frozen=True, slots=True)
class TransactionFacts:
    """A transaction: its id, node and status, and whether its process may still be running."""

    txid: str
    node_id: str
    status: TransactionStatus
    is_alive: bool = False


def read_transaction_facts(layout: GovLayout, cache: CheckCache) -> tuple[TransactionFacts, ...]:
    """Return every readable transaction; records that did not change are taken from the cache."""
    # A transaction runs under the root's lock, so that at most one can be alive.
    is_alive = is_held(layout.process_lock)
    entries: dict[str, tuple[str, str, str]] = {}
    transactions = []
    for name in list_names(layout.transactions):
        txid, extension, rest = name.partition(".json")
        if not extension or rest:
            continue
        entry = _read_entry(layout, cache, txid)
        if entry is None:
            continue
        entries[txid] = entry
        _stamp, node_id, status = entry
        # The status was validated when the record was read.
        transactions.append(TransactionFacts(txid, node_id, cast("TransactionStatus", status), is_alive))
    cache.updates["transactions"] = entries
    return tuple(transactions)


def _read_entry(layout: GovLayout, cache: CheckCache, txid: str) -> tuple[str, str, str] | None:
    """Return the stamp, node and status of a transaction; None when its record is damaged."""
    path = layout.transactions / f"{txid}.json"
    stamp = stamp_files([path])
    entry = cache.stored.transactions.get(txid)
    if entry is not None and entry[0] == stamp:
        return entry
    record = read_state(path, Transaction, only_look=True)
    if not isinstance(record, Transaction):
        return None
    return stamp, record.node_id, record.status
