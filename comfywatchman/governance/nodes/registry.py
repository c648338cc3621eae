"""The registered custom nodes: which there are, how their folders stand, and taking one out again."""

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
from comfywatchman.governance.store.records import GenerationMark, NodeRegistry, Operation, RegisteredNode
from comfywatchman.governance.uv.client import UvResult
from comfywatchman.governance.uv.overrides import remove_node

_GIT_SECONDS: Final = 20.0

CodeState = Literal["as-recorded", "changed", "gone"]


@dataclass(frozen=True, slots=True)
class NodeListing:
    """A registered node and how its folder stands.

    Attributes:
        plugin: Its record.
        code: Whether its code is what was recorded.
        commit: The commit that its folder is at; None when it is no git working copy.
        is_dirty: Whether tracked files differ from that commit; None when it cannot be told.
    """

    plugin: RegisteredNode
    code: CodeState
    commit: str | None
    is_dirty: bool | None


def list_registered(ground: GovContext) -> tuple[NodeListing, ...]:
    """Return the registered nodes by id, each with how its folder stands.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    plugins = staging.read_registry(ground.layout).plugins
    return tuple(_inspect_node(ground, plugins[node_id]) for node_id in sorted(plugins))


def require(ground: GovContext, node_id: str) -> RegisteredNode:
    """Return a registered node.

    Raises:
        Failure: `gov-node-unknown`, or `gov-truth-damaged`.
    """
    plugin = staging.read_registry(ground.layout).plugins.get(node_id)
    if plugin is None:
        raise Failure(
            "gov-node-unknown",
            f"No node {node_id!r} is registered.",
            hint="See `gov node list`; register one with `gov node add`.",
        )
    return plugin


def find_enabled_folders(ground: GovContext) -> dict[str, Path]:
    """Return the folders of the registered, enabled nodes that are there, by id.

    Raises:
        Failure: `gov-truth-damaged`.
    """
    plugins = staging.read_registry(ground.layout).plugins.values()
    found = {one.id: ground.custom_nodes / one.id for one in plugins if one.enabled}
    return {node_id: folder for node_id, folder in found.items() if folder.is_dir()}


def unregister(ground: GovContext, node_id: str, *, purge_code: bool = False) -> Operation:
    """Take a node's packages out of the truth, build the environment without them, and forget the node.

    Args:
        ground: The ground; its lock must be held.
        node_id: The node.
        purge_code: Delete its folder in `custom_nodes`, too; of a link only the link.

    Raises:
        Failure: `gov-node-unknown`, `gov-lock-failed`, `gov-environment-failed`, `gov-smoke-failed`. Nothing changed
            then.
    """
    require(ground, node_id)
    layout = ground.layout
    started_at = format_utc(ground.clock.now())
    with staging.open_staging(ground.layout) as work:
        plugins, before = work.read_registry(), work.read_project()
        work.edit_project(lambda text: remove_node(text, plugins, node_id))
        work.write_registry(_drop_node(plugins, node_id))
        mark = _rebuild(ground, work, needs_lock=work.read_project() != before)
        pre = snapshot.create(
            layout, ground.clock, reason="remove_pre", ref=node_id, generation=generation.current_key(layout)
        )
        journal = commit.prepare(
            ground.layout,
            ground.clock,
            work,
            kind="remove",
            ref=node_id,
            key=mark.key,
            pre_snapshot=pre.id,
            note=f"{node_id} was removed{' with its code' if purge_code else ''}",
            started_at=started_at,
        )
        purged = node_id if purge_code else None
        return commit.publish(ground, msgspec.structs.replace(journal, removed_node=purged))


def _drop_node(plugins: NodeRegistry, node_id: str) -> NodeRegistry:
    rest = {name: one for name, one in plugins.plugins.items() if name != node_id}
    return msgspec.structs.replace(plugins, plugins=rest)


def _rebuild(ground: GovContext, work: StagingDir, *, needs_lock: bool) -> GenerationMark:
    ended = work.lock(ground.uv, ground.python) if needs_lock else None
    if ended is not None and not ended.is_success:
        raise Failure(
            "gov-lock-failed",
            f"uv could not resolve the packages that stay: {ended.errors.strip()}",
            hint="Nothing was changed. Check the network, then run the command again.",
        )
    built = generation.build(ground, work.folder)
    if isinstance(built, UvResult):
        raise Failure(
            "gov-environment-failed",
            f"uv could not build the environment without it: {built.errors.strip()}",
            hint="Nothing was changed. Check the network and the disk (df -h), then run the command again.",
        )
    return built


def _inspect_node(ground: GovContext, plugin: RegisteredNode) -> NodeListing:
    folder = ground.custom_nodes / plugin.id
    if not folder.is_dir():
        return NodeListing(plugin, "gone", None, None)
    commit_now = read_head(folder)
    is_same = commit_now == plugin.commit and (plugin.tree is None or hash_code_tree(folder) == plugin.tree)
    dirty = is_dirty(folder, timeout_seconds=_GIT_SECONDS) if commit_now else None
    return NodeListing(plugin, "as-recorded" if is_same else "changed", commit_now, dirty)
