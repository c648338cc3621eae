"""The records of transactions: read, write, abort, prune. A transaction is one node tried in a candidate."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Final

import msgspec

from comfywatchman.base.clock import Clock, format_utc
from comfywatchman.base.errors import Failure
from comfywatchman.base.files import read_regular
from comfywatchman.base.json_values import decode_json
from comfywatchman.base.lock import is_held
from comfywatchman.base.state.state_file import CorruptFile, read_state, write_state
from comfywatchman.governance.environments.snapshot import MAX_TRUTH_BYTES
from comfywatchman.governance.store.ids import TRANSACTION_ID
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.records import Transaction
from comfywatchman.governance.store.status_policy import CLOSED_STATUSES, STATUS_POLICIES, is_allowed
from comfywatchman.governance.transactions import candidate

_MAX_TRANSACTIONS: Final = 200
_MAX_CANDIDATES: Final = 3
_MAX_RECORD_BYTES: Final = 64 << 20

log = logging.getLogger(__name__)


class _Status(msgspec.Struct):
    status: str


def read(layout: GovLayout, txid: str) -> Transaction:
    """Return a transaction; one whose run was interrupted is returned as failed.

    Raises:
        Failure: `gov-transaction-unknown` or `gov-transaction-unreadable`.
    """
    transaction = None
    if _is_transaction_id(txid):
        transaction = read_state(layout.transactions / f"{txid}.json", Transaction, only_look=True)
    if isinstance(transaction, CorruptFile):
        reason = _describe_unreadable(transaction)
        hint = "Update comfywatchman, or try the node again: gov tx run NODE"
        raise Failure("gov-transaction-unreadable", f"The transaction {txid} cannot be read: {reason}.", hint=hint)
    if not isinstance(transaction, Transaction):
        raise Failure("gov-transaction-unknown", f"transaction not found: {txid[:100]!r}", hint="See: gov tx list")
    return _resolve_status(layout, transaction)


def read_all(layout: GovLayout) -> tuple[Transaction, ...]:
    """Return the readable transactions, oldest first; those whose run was interrupted are returned as failed."""
    return tuple(_resolve_status(layout, transaction) for transaction in _read_records(layout))


def find_unreadable(layout: GovLayout) -> dict[str, str]:
    """Return why records of transactions cannot be read, by id: damage, or a status that this version does not know."""
    reasons = {}
    for path in sorted(layout.transactions.glob("*.json")):
        if _is_transaction_id(path.stem):
            record = read_state(path, Transaction, only_look=True)
            if isinstance(record, CorruptFile):
                reasons[path.stem] = _describe_unreadable(record)
    return reasons


def save(layout: GovLayout, transaction: Transaction) -> Transaction:
    """Write a transaction's record, and return the transaction.

    Raises:
        Failure: `state-unwritable`.
    """
    write_state(layout.transactions / f"{transaction.txid}.json", transaction)
    return transaction


def abort(layout: GovLayout, clock: Clock, txid: str) -> Transaction:
    """Abort a transaction: its candidate is deleted, its record is kept.

    Args:
        layout: The governed root; its lock must be held.
        clock: The clock.
        txid: The transaction.

    Raises:
        Failure: `gov-transaction-unknown`, or `gov-transaction-state` for one that was promoted or aborted.
    """
    mark_interrupted(layout, clock)
    transaction = read(layout, txid)
    if not is_allowed("abort", transaction.status):
        hint = "To undo a promotion: gov rollback SNAPSHOT." if transaction.status == "promoted" else None
        message = f"The transaction {txid} is {transaction.status} and cannot be aborted."
        raise Failure("gov-transaction-state", message, hint=hint)
    candidate.delete(layout.candidates / txid)
    return save(layout, msgspec.structs.replace(transaction, status="aborted"))


def mark_interrupted(layout: GovLayout, clock: Clock) -> None:
    """Record interrupted runs as failed, and delete their candidates.

    Args:
        layout: The governed root. Its lock must be held: then no other command runs a transaction.
        clock: The clock.
    """
    for transaction in _read_records(layout):
        if transaction.status == "running":
            candidate.delete(layout.candidates / transaction.txid)
            save(layout, mark_failed(transaction, clock, describe_interruption(transaction.node_id)))


def mark_failed(transaction: Transaction, clock: Clock, error: str) -> Transaction:
    """Return a transaction as failed at this moment."""
    return msgspec.structs.replace(transaction, status="failed", ended_at=format_utc(clock.now()), error=error)


def describe_interruption(node_id: str) -> str:
    """Return the error of an interrupted run."""
    return f"The run was interrupted. Try again: gov tx run {node_id}"


def hash_truth_files(layout: GovLayout) -> str:
    """Return a hash over pyproject.toml and uv.lock: a candidate belongs to one state of both.

    Raises:
        Failure: `gov-not-initialised`.
    """
    digest = hashlib.sha256()
    for path in (layout.pyproject, layout.uv_lock):
        try:
            digest.update(hashlib.sha256(read_regular(path, max_bytes=MAX_TRUTH_BYTES)).digest())
        except Failure as failure:
            raise Failure("gov-not-initialised", failure.message, hint="Run: gov init") from failure
    return digest.hexdigest()


def prune(layout: GovLayout) -> None:
    """Delete old transactions with their logs, and all but a few candidates. Errors are logged, not raised."""
    try:
        transactions = read_all(layout)
        for transaction in transactions[:-_MAX_TRANSACTIONS]:
            _delete_record(layout, transaction.txid)
        open_ids = [transaction.txid for transaction in transactions if transaction.status not in CLOSED_STATUSES]
        kept_ids = set(open_ids[-_MAX_CANDIDATES:])
        # Candidates take gigabytes; only the newest open transactions keep theirs.
        for folder in layout.candidates.iterdir():
            if folder.name not in kept_ids:
                candidate.delete(folder)
    except OSError as error:
        # They are deleted the next time; the transaction itself has succeeded.
        log.warning("old transactions not deleted", extra={"reason": str(error)})


def _describe_unreadable(record: CorruptFile) -> str:
    """Return why a record cannot be read, as the end of a sentence."""
    if record.later_version is None:
        try:
            status = decode_json(read_regular(record.path, max_bytes=_MAX_RECORD_BYTES), _Status).status
        except (Failure, msgspec.DecodeError):
            return record.reason
        if status not in STATUS_POLICIES:
            return f"it has the status {status[:40]!r}, which this version does not know"
    return record.reason


def _delete_record(layout: GovLayout, txid: str) -> None:
    (layout.transactions / f"{txid}.json").unlink(missing_ok=True)
    (layout.conflicts / f"{txid}.json").unlink(missing_ok=True)
    for path in layout.logs.glob(f"{txid}.*"):
        path.unlink(missing_ok=True)


def _read_records(layout: GovLayout) -> list[Transaction]:
    """Return the readable records, oldest first: their ids begin with the time."""
    transactions = []
    for path in sorted(layout.transactions.glob("*.json")):
        record = _read_record(path)
        if record is not None:
            transactions.append(record)
    return transactions


def _read_record(path: Path) -> Transaction | None:
    if not _is_transaction_id(path.stem):
        return None
    record = read_state(path, Transaction, only_look=True)
    return record if isinstance(record, Transaction) else None


def _resolve_status(layout: GovLayout, transaction: Transaction) -> Transaction:
    """Return a running transaction as failed when its process has ended: a run holds the lock of the root."""
    if transaction.status != "running" or is_held(layout.process_lock):
        return transaction
    return msgspec.structs.replace(transaction, status="failed", error=describe_interruption(transaction.node_id))


def _is_transaction_id(text: str) -> bool:
    return TRANSACTION_ID.fullmatch(text) is not None
