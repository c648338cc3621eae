"""Remove a node: its packages, its registration, and its open transactions."""

from __future__ import annotations

from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.nodes import registry
from comfywatchman.governance.store.records import Operation
from comfywatchman.governance.store.status_policy import CLOSED_STATUSES
from comfywatchman.governance.transactions import transaction


def remove_node(context: GovContext, node_id: str, *, purge_code: bool = False) -> Operation:
    """Remove a node (`registry.unregister`), and abort its open transactions: they can never be promoted.

    Raises:
        Failure: As for `registry.unregister`.
    """
    operation = registry.unregister(context, node_id, purge_code=purge_code)
    transaction.mark_interrupted(context.layout, context.clock)
    for record in transaction.read_all(context.layout):
        if record.node_id == node_id and record.status not in CLOSED_STATUSES:
            transaction.abort(context.layout, context.clock, record.txid)
    return operation
