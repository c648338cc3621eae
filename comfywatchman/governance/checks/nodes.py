"""Check `nodes`: is the code of each registered node the code that was recorded?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from comfywatchman.base.code_tree import hash_code_tree
from comfywatchman.base.git import is_dirty, read_head
from comfywatchman.base.text import pluralize
from comfywatchman.comfyui.packs.scan import PackListing
from comfywatchman.governance.checks.check_cache import NodeCodeState
from comfywatchman.governance.checks.context import Check, CheckContext
from comfywatchman.governance.checks.result import CheckResult, shorten_names
from comfywatchman.governance.store.records import RegisteredNode

NodeFolderState = Literal["as-recorded", "moved", "dirty", "gone", "unknown"]

_GIT_SECONDS: Final = 5.0
_STATE_TEXTS: Final[dict[NodeFolderState, str]] = {
    "gone": "not there",
    "moved": "at another commit than recorded",
    "dirty": "with changed files",
    "unknown": "could not be looked at",
}
"""The states that are reported, the most severe first."""


@dataclass(frozen=True, slots=True)
class NodeFolderFacts:
    """The folder of a registered node.

    Attributes:
        id: The node's id.
        exists: Whether the folder exists.
        recorded_commit: The commit that was registered or promoted; None without a git working copy.
        commit: The present commit of the folder.
        is_dirty: Whether its code differs from the record; None when that is unknown.
    """

    id: str
    exists: bool = True
    recorded_commit: str | None = None
    commit: str | None = None
    is_dirty: bool | None = False


def collect(context: CheckContext) -> tuple[NodeFolderFacts, ...]:
    """Read the state of each registered node's folder."""
    states: dict[str, NodeCodeState] = {}
    facts = []
    for node in context.registry.plugins.values():
        listing = context.node_folders.get(node.id)
        if listing is None:
            facts.append(NodeFolderFacts(node.id, exists=False, recorded_commit=node.commit))
            continue
        state = _read_code_state(context, node, listing)
        if state is not None:
            states[node.id] = state
        facts.append(
            NodeFolderFacts(
                node.id,
                recorded_commit=node.commit,
                commit=read_head(listing.path),
                is_dirty=None if state is None else state.is_dirty,
            )
        )
    context.cache.updates["nodes"] = states
    return tuple(facts)


def classify(node: NodeFolderFacts) -> NodeFolderState:
    """Return the state of a registered node's folder."""
    if not node.exists:
        return "gone"
    if node.commit != node.recorded_commit:
        return "moved"
    if node.is_dirty is None:
        return "unknown"
    return "dirty" if node.is_dirty else "as-recorded"


def judge(nodes: Sequence[NodeFolderFacts]) -> CheckResult:
    """Judge whether each registered node is the code that was recorded."""
    ids_by_state: dict[NodeFolderState, list[str]] = {}
    for node in nodes:
        ids_by_state.setdefault(classify(node), []).append(node.id)
    ids_by_state.pop("as-recorded", None)
    if not ids_by_state:
        evidence = "No custom node is registered."
        if nodes:
            evidence = f"{pluralize(len(nodes), 'registered node')}, unchanged since they were recorded."
        return CheckResult(name=CHECK.name, status="ok", evidence=evidence)
    parts, ids = [], []
    for state, text in _STATE_TEXTS.items():
        if state in ids_by_state:
            parts.append(f"{text}: {shorten_names(sorted(ids_by_state[state]))}")
            ids += ids_by_state[state]
    status, action = _choose_status(ids_by_state)
    return CheckResult(
        name=CHECK.name, status=status, evidence=f"{'; '.join(parts)}.", action=action, items=tuple(sorted(ids))
    )


def _choose_status(
    ids_by_state: dict[NodeFolderState, list[str]],
) -> tuple[Literal["warn", "fail", "unknown"], str | None]:
    """Return the status of the check, and the next command."""
    if "gone" in ids_by_state:
        return "fail", f"gov node remove {ids_by_state['gone'][0]}"
    changed = [*ids_by_state.get("moved", ()), *ids_by_state.get("dirty", ())]
    if changed:
        return "warn", f"gov tx run {changed[0]}"
    return "unknown", None


def _read_code_state(context: CheckContext, node: RegisteredNode, listing: PackListing) -> NodeCodeState | None:
    """Return whether a node's code differs from its record; None when there is no time to compare.

    The fingerprint only covers Python and metadata files. Changes of other files are found by a full comparison, which
    is made once a day.
    """
    stamp = f"{listing.fingerprint} {listing.git_fingerprint} {node.tree}"
    today = f"{context.gov.clock.now():%Y-%m-%d}"
    cached = context.cache.stored.nodes.get(node.id)
    if cached is not None and cached.stamp != stamp:
        cached = None
    is_due = cached is None or cached.day != today
    if not context.budget.is_unlimited and not (is_due and context.budget.has_time):
        return cached
    is_changed = _has_code_changes(node, listing.path)
    return None if is_changed is None else NodeCodeState(stamp, today, is_changed)


def _has_code_changes(node: RegisteredNode, folder: Path) -> bool | None:
    if node.tree is not None:
        tree = hash_code_tree(folder)
        if tree is not None:
            return tree != node.tree
    # Records of older versions hold no tree.
    return is_dirty(folder, timeout_seconds=_GIT_SECONDS) if node.commit else False


def _run(context: CheckContext) -> CheckResult:
    return judge(collect(context))


CHECK = Check("nodes", _run)
