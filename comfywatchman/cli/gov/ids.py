"""The ids of transactions, snapshots and operations as people give them: whole, by their beginning, or `latest`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comfywatchman.governance.store.layout import GovLayout


def complete_transaction_id(layout: GovLayout, text: str) -> str:
    """Return the id of the transaction that a text names; the text itself when it names none.

    Raises:
        Failure: `gov-transaction-unknown` when it is the beginning of several ids.
    """
    from comfywatchman.governance.store.ids import TRANSACTION_ID, complete_id

    ids = [path.stem for path in layout.transactions.glob("*.json") if TRANSACTION_ID.fullmatch(path.stem)]
    return complete_id(text, sorted(ids), code="gov-transaction-unknown")


def complete_snapshot_id(layout: GovLayout, text: str) -> str:
    """Return the id of the snapshot that a text names; the text itself when it names none.

    Raises:
        Failure: `gov-snapshot-unknown` when it is the beginning of several ids.
    """
    from comfywatchman.governance.environments import snapshot
    from comfywatchman.governance.store.ids import complete_id

    return complete_id(text, [meta.id for meta in snapshot.read_all(layout)], code="gov-snapshot-unknown")


def complete_operation_id(layout: GovLayout, text: str) -> str:
    """Return the id of the operation that a text names; the text itself when it names none.

    Raises:
        Failure: `gov-operation-unknown` when it is the beginning of several ids.
    """
    from comfywatchman.governance.environments.rollback import read_operations
    from comfywatchman.governance.store.ids import complete_id

    ids = [operation.op_id for operation in read_operations(layout)]
    return complete_id(text, ids, code="gov-operation-unknown")
