"""Checks of the custom node folders against the register. Pure: facts in, result out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from comfywatchman.base.text import pluralize
from comfywatchman.governance.checks.packages import shorten_list
from comfywatchman.governance.checks.result import CheckResult

NodeFolderState = Literal["as-recorded", "moved", "dirty", "gone", "unknown"]

_STATE_TEXTS: Final[dict[NodeFolderState, str]] = {
    "gone": "not there",
    "moved": "at another commit than recorded",
    "dirty": "with changed files",
    "unknown": "could not be looked at",
}


@dataclass(frozen=True, slots=True)
class NodeFolderFacts:
    """One registered node as its folder is found.

    Attributes:
        id: Its id.
        is_there: Whether its folder is there.
        recorded: The commit it was registered or promoted at; None for one that is no git working copy.
        commit: The commit its folder is at.
        is_dirty: Whether its code is not what was recorded; None when that could not be told.
    """

    id: str
    is_there: bool = True
    recorded: str | None = None
    commit: str | None = None
    is_dirty: bool | None = False


def classify_node(node: NodeFolderFacts) -> NodeFolderState:
    """Name how a registered node is."""
    if not node.is_there:
        return "gone"
    if node.commit != node.recorded:
        return "moved"
    if node.is_dirty is None:
        return "unknown"
    return "dirty" if node.is_dirty else "as-recorded"


def judge_nodes(nodes: Sequence[NodeFolderFacts]) -> CheckResult:
    """Judge whether each registered node is the code that was tried."""
    by_state: dict[NodeFolderState, list[str]] = {}
    for node in nodes:
        by_state.setdefault(classify_node(node), []).append(node.id)
    odd = [(words, by_state[state]) for state, words in _STATE_TEXTS.items() if state in by_state]
    if not odd:
        count = pluralize(len(nodes), "registered node")
        evidence = f"{count}, unchanged since they were recorded." if nodes else "No custom node is registered."
        return CheckResult(name="nodes", status="ok", evidence=evidence)
    status: Literal["warn", "fail", "unknown"] = "unknown"
    if by_state.keys() & {"moved", "dirty"}:
        status = "warn"
    if "gone" in by_state:
        status = "fail"
    first = next(names[0] for _words, names in odd)
    return CheckResult(
        name="nodes",
        status=status,
        evidence="; ".join(f"{words}: {shorten_list(sorted(names))}" for words, names in odd) + ".",
        action=_choose_action(by_state, first),
        items=tuple(sorted(name for _words, names in odd for name in names)),
    )


def _choose_action(by_state: dict[NodeFolderState, list[str]], first: str) -> str | None:
    if "gone" in by_state:
        return f"gov node remove {by_state['gone'][0]}"
    if by_state.keys() & {"moved", "dirty"}:
        return f"gov tx run {first}"
    return None


def judge_unregistered(folders: Sequence[str]) -> CheckResult:
    """Judge whether custom nodes are installed that nobody registered.

    Args:
        folders: Their folders in `custom_nodes`.
    """
    if not folders:
        return CheckResult(
            name="unregistered-nodes", status="ok", evidence="Every custom node that is installed is registered."
        )
    names = sorted(folders)
    return CheckResult(
        name="unregistered-nodes",
        status="warn",
        evidence=f"Installed and not registered, so that their packages are not governed: {shorten_list(names)}.",
        action=f"gov node add --adopt {names[0]}",
        items=tuple(names),
    )
