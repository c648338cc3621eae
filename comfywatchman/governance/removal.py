"""Removing a node with what waits of it: its packages, its record, its open transactions."""

from __future__ import annotations

from comfywatchman.governance import plugins, transaction
from comfywatchman.governance.records import Operation
from comfywatchman.governance.root import Ground


def remove(ground: Ground, node_id: str, *, purge_code: bool = False) -> Operation:
    """Remove a node (`plugins.remove`), then abort its transactions that are open: they can never be promoted.

    Raises:
        Failure: As for `plugins.remove`.
    """
    operation = plugins.remove(ground, node_id, purge_code=purge_code)
    transaction.settle(ground)
    for one in transaction.read_all(ground.layout):
        if one.node_id == node_id and one.status not in transaction.CLOSED:
            transaction.abort(ground, one.txid)
    return operation
