"""Removing a node with what waits of it: its packages, its record, its open transactions."""

from __future__ import annotations

from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.nodes import registry
from comfywatchman.governance.store.records import Operation
from comfywatchman.governance.store.status_policy import is_allowed
from comfywatchman.governance.transactions import transaction


def remove_node(ground: GovContext, node_id: str, *, purge_code: bool = False) -> Operation:
    """Remove a node (`plugins.remove`), then abort its transactions that are open: they can never be promoted.

    Raises:
        Failure: As for `plugins.remove`.
    """
    operation = registry.unregister(ground, node_id, purge_code=purge_code)
    transaction.mark_interrupted(ground)
    for one in transaction.read_all(ground.layout):
        if one.node_id == node_id and is_allowed("abort", one.status):
            transaction.abort(ground, one.txid)
    return operation
