"""The registered custom nodes: list them, find one, unregister one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

from comfywatchman.base.clock import format_utc
from comfywatchman.base.code_tree import hash_code_tree
from comfywatchman.base.errors import Failure
from comfywatchman.base.git import is_dirty, read_head
from comfywatchman.governance.environments import commit, generation, snapshot, staging
from comfywatchman.governance.environments.context import GovContext
from comfywatchman.governance.environments.staging import StagingDir
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.records import NodeRegistry, Operation, RegisteredNode
from comfywatchman.governance.uv.client import Uv
from comfywatchman.governance.uv.overrides import remove_node

_GIT_SECONDS: Final = 20.0

CodeState = Literal["as-recorded", "changed", "gone"]


@dataclass(frozen=True, slots=True)
class NodeListing:
    """A registered node and the state of its folder.

    Attributes:
        plugin: Its record.
        code: Whether its code is the recorded one.
        commit: The present commit of its folder; None without a git working copy.
        is_dirty: Whether tracked files differ from that commit; None when that is unknown.
    """

    plugin: RegisteredNode
    code: CodeState
    commit: str | None
    is_dirty: bool | None


def list_nodes(layout: GovLayout, custom_nodes: Path) -> tuple[NodeListing, ...]:
    """Return the registered nodes by id, each with the state of its folder.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    nodes = staging.read_registry(layout).plugins
    return tuple(_inspect_node(nodes[node_id], custom_nodes / node_id) for node_id in sorted(nodes))


def require(layout: GovLayout, node_id: str) -> RegisteredNode:
    """Return a registered node.

    Raises:
        Failure: `gov-node-unknown`, or `gov-truth-damaged`.
    """
    node = staging.read_registry(layout).plugins.get(node_id)
    if node is None:
        raise Failure(
            "gov-node-unknown",
            f"No node {node_id!r} is registered.",
            hint="See `gov node list`; register one with `gov node add`.",
        )
    return node


def find_enabled_folders(layout: GovLayout, custom_nodes: Path) -> dict[str, Path]:
    """Return the existing folders, or single files, of the enabled nodes, by id.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    folders = {}
    for node in staging.read_registry(layout).plugins.values():
        folder = custom_nodes / node.id
        if node.enabled and folder.exists():
            folders[node.id] = folder
    return folders


def unregister(context: GovContext, node_id: str, *, purge_code: bool = False) -> Operation:
    """Remove a node's requirements, build the environment without them, and remove the node from the registry.

    Args:
        context: The governed root; its lock must be held.
        node_id: The node.
        purge_code: Delete its folder in `custom_nodes`, too; of a link only the link.

    Raises:
        Failure: `gov-node-unknown`, `gov-lock-failed`, `gov-environment-failed`, `gov-smoke-failed`: nothing changed.
    """
    layout, clock = context.layout, context.clock
    require(layout, node_id)
    started_at = format_utc(clock.now())
    with staging.open_staging(layout) as work:
        registry, project_before = work.read_registry(), work.read_project()
        work.edit_project(lambda text: remove_node(text, registry, node_id))
        work.write_registry(_drop_node(registry, node_id))
        # A node that was never promoted declares nothing: the lock stays as it is.
        if work.read_project() != project_before:
            _lock(context.uv, context.python, work)
        mark = generation.require_build(context, work.folder)
        pre = snapshot.create(
            layout, clock, reason="remove_pre", ref=node_id, generation=generation.current_key(layout)
        )
        journal = commit.prepare(
            layout,
            clock,
            work,
            kind="remove",
            ref=node_id,
            key=mark.key,
            pre_snapshot=pre.id,
            note=f"{node_id} was removed with its code" if purge_code else f"{node_id} was removed",
            started_at=started_at,
        )
        # The commit deletes the code: a removal that is interrupted before it keeps the code.
        journal = msgspec.structs.replace(journal, removed_node=node_id if purge_code else None)
        return commit.publish(context, journal)


def _drop_node(registry: NodeRegistry, node_id: str) -> NodeRegistry:
    remaining = {key: node for key, node in registry.plugins.items() if key != node_id}
    return msgspec.structs.replace(registry, plugins=remaining)


def _lock(uv: Uv, python: Path, work: StagingDir) -> None:
    result = work.lock(uv, python)
    if not result.is_success:
        raise Failure(
            "gov-lock-failed",
            f"uv could not resolve the remaining packages: {result.errors.strip()}",
            hint="Nothing changed. Check the network, then run the command again.",
        )


def _inspect_node(node: RegisteredNode, folder: Path) -> NodeListing:
    if not folder.exists():
        return NodeListing(node, "gone", None, None)
    head = read_head(folder)
    # Records of older versions hold no tree hash: then the commit alone counts.
    is_recorded = head == node.commit and (node.tree is None or hash_code_tree(folder) == node.tree)
    dirty = is_dirty(folder, timeout_seconds=_GIT_SECONDS) if head else None
    return NodeListing(node, "as-recorded" if is_recorded else "changed", head, dirty)
