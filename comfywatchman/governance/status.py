"""How a governed root stands, in the facts that `gov status` shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from comfywatchman.base.files import printable_path, read_state
from comfywatchman.governance.environments import generation, snapshot
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.records import NodeRegistry, Transaction, TransactionStatus
from comfywatchman.governance.store.status_policy import PENDING_STATUSES

_RECENT: Final = 8


class TransactionSummary(msgspec.Struct, frozen=True):
    """A transaction in a few words."""

    txid: str
    node_id: str
    status: TransactionStatus
    started_at: str


class NodeSummary(msgspec.Struct, frozen=True):
    """A registered node in a few words: its requirement lines in production, its commit, its last transaction."""

    id: str
    enabled: bool
    requirements: int
    commit: str | None
    last_txid: str | None


class GovStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What `gov status` says.

    Attributes:
        root: The governed root.
        comfyui: The ComfyUI whose environment it is.
        prod_env_exists: Whether there is an environment in production.
        lock_exists: Whether there is a lock.
        generation: The name of the environment in production.
        environment: Its folder; start programs from there.
        python: Its interpreter's version.
        packages: How many packages it has.
        nodes: The registered nodes.
        transactions_total: How many transactions there are.
        pending: How many of them are not over.
        recent: The newest of them, newest first.
        snapshots: How many snapshots are kept.
        note: What a cut-off change needed, or who works now.
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
    """Return how a governed root stands."""
    layout = context.layout
    key = generation.current_key(layout)
    mark = generation.read_mark(layout, key)
    lines = sorted(read_transaction_summaries(layout), key=lambda line: line.txid, reverse=True)
    return GovStatus(
        root=printable_path(layout.root),
        comfyui=printable_path(context.comfyui),
        prod_env_exists=mark is not None,
        lock_exists=layout.lock.is_file(),
        generation=key,
        environment=printable_path(generation.environment_dir(layout, key)) if key else None,
        python=mark.python if mark else None,
        packages=len(mark.packages) if mark else 0,
        nodes=read_node_summaries(layout),
        transactions_total=len(lines),
        pending=sum(line.status in PENDING_STATUSES for line in lines),
        recent=tuple(lines[:_RECENT]),
        snapshots=len(snapshot.read_all(layout)),
        note=context.note,
    )


def read_node_summaries(layout: GovLayout) -> tuple[NodeSummary, ...]:
    """Return the registered nodes, by id."""
    found = read_state(layout.plugins, NodeRegistry, only_look=True)
    plugins = found.plugins if isinstance(found, NodeRegistry) else {}
    return tuple(
        NodeSummary(one.id, one.enabled, len(one.managed_deps), one.commit, one.last_txid)
        for one in sorted(plugins.values(), key=lambda one: one.id.lower())
    )


def read_transaction_summaries(layout: GovLayout) -> Iterator[TransactionSummary]:
    """Yield every transaction whose record can be read."""
    for path in layout.transactions.glob("*.json"):
        found = read_state(path, Transaction, only_look=True)
        if isinstance(found, Transaction):
            yield TransactionSummary(found.txid, found.node_id, found.status, found.started_at)
