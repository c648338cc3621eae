"""The state of a governed root, as `gov status` shows it."""

from __future__ import annotations

from typing import Final

import msgspec

from comfywatchman.base.files import printable_path
from comfywatchman.base.state.state_file import read_state
from comfywatchman.governance.environments import generation, snapshot
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.records import NodeRegistry, Transaction, TransactionStatus
from comfywatchman.governance.store.status_policy import PENDING_STATUSES

_MAX_RECENT: Final = 8


class TransactionSummary(msgspec.Struct, frozen=True):
    """A transaction in short."""

    txid: str
    node_id: str
    status: TransactionStatus
    started_at: str


class NodeSummary(msgspec.Struct, frozen=True):
    """A registered node in short: its number of requirement lines, its commit, its last transaction."""

    id: str
    enabled: bool
    requirements: int
    commit: str | None
    last_txid: str | None


class GovStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a governed root.

    Attributes:
        root: The governed root.
        comfyui: The governed ComfyUI.
        prod_env_exists: Whether there is a production environment.
        lock_exists: Whether there is a lock.
        generation: The key of the production environment.
        environment: Its folder; programs must be started from there.
        python: The version of its interpreter.
        packages: The number of its packages.
        nodes: The registered nodes.
        transactions_total: The number of transactions.
        pending: The number of transactions that wait for a decision.
        recent: The newest transactions, newest first.
        snapshots: The number of snapshots.
        note: A message about an interrupted change or a running command; usually empty.
    """

    root: str
    comfyui: str
    prod_env_exists: bool
    lock_exists: bool
    generation: str | None
    environment: str | None
    python: str | None
    packages: int
    nodes: tuple[NodeSummary, ...]
    transactions_total: int
    pending: int
    recent: tuple[TransactionSummary, ...]
    snapshots: int
    note: str = ""


def read_status(context: GovContext) -> GovStatus:
    """Return the state of a governed root."""
    layout = context.layout
    key = generation.current_key(layout)
    mark = generation.read_mark(layout, key)
    transactions = read_transaction_summaries(layout)
    return GovStatus(
        root=printable_path(layout.root),
        comfyui=printable_path(context.comfyui),
        prod_env_exists=mark is not None,
        lock_exists=layout.uv_lock.is_file(),
        generation=key,
        environment=printable_path(generation.environment_dir(layout, key)) if key else None,
        python=mark.python if mark else None,
        packages=len(mark.packages) if mark else 0,
        nodes=read_node_summaries(layout),
        transactions_total=len(transactions),
        pending=sum(transaction.status in PENDING_STATUSES for transaction in transactions),
        recent=transactions[:_MAX_RECENT],
        snapshots=len(snapshot.read_all(layout)),
        note=context.note,
    )


def read_node_summaries(layout: GovLayout) -> tuple[NodeSummary, ...]:
    """Return the registered nodes, sorted by id; none when the registry is damaged, which a check reports."""
    registry = read_state(layout.plugins, NodeRegistry, only_look=True)
    if not isinstance(registry, NodeRegistry):
        return ()
    nodes = sorted(registry.plugins.values(), key=lambda node: node.id.lower())
    return tuple(
        NodeSummary(node.id, node.enabled, len(node.managed_deps), node.commit, node.last_txid) for node in nodes
    )


def read_transaction_summaries(layout: GovLayout) -> tuple[TransactionSummary, ...]:
    """Return all readable transactions, newest first."""
    summaries = []
    for path in layout.transactions.glob("*.json"):
        record = read_state(path, Transaction, only_look=True)
        if isinstance(record, Transaction):
            summaries.append(TransactionSummary(record.txid, record.node_id, record.status, record.started_at))
    # Ids begin with the time.
    summaries.sort(key=lambda summary: summary.txid, reverse=True)
    return tuple(summaries)
