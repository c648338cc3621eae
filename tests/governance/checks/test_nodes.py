from __future__ import annotations

import pytest

from comfywatchman.governance.checks.nodes import (
    NodeFolderFacts,
    NodeFolderState,
    classify,
    judge,
)


@pytest.mark.parametrize(
    ("node", "state"),
    [
        (NodeFolderFacts("a", exists=False), "gone"),
        (NodeFolderFacts("a", recorded_commit="1" * 40, commit="2" * 40), "moved"),
        (NodeFolderFacts("a", recorded_commit="1" * 40, commit=None), "moved"),
        (NodeFolderFacts("a", recorded_commit="1" * 40, commit="1" * 40), "as-recorded"),
        (NodeFolderFacts("a", recorded_commit="1" * 40, commit="1" * 40, is_dirty=True), "dirty"),
        (NodeFolderFacts("a", recorded_commit="1" * 40, commit="1" * 40, is_dirty=None), "unknown"),
        (NodeFolderFacts("a", is_dirty=True), "dirty"),
        (NodeFolderFacts("a"), "as-recorded"),
    ],
)
def test_folder_is_compared_with_its_record(node: NodeFolderFacts, state: NodeFolderState) -> None:
    assert classify(node) == state


def test_unchanged_nodes_are_ok() -> None:
    assert judge([]).evidence == "No custom node is registered."
    assert judge([NodeFolderFacts("a")]).evidence.startswith("1 registered node,")
    assert judge([NodeFolderFacts("a"), NodeFolderFacts("b")]).status == "ok"


@pytest.mark.parametrize(
    ("node", "status", "action"),
    [
        (NodeFolderFacts("depth", exists=False), "fail", "gov node remove depth"),
        (NodeFolderFacts("depth", recorded_commit="1" * 40, commit="2" * 40), "warn", "gov tx run depth"),
        (
            NodeFolderFacts("depth", recorded_commit="1" * 40, commit="1" * 40, is_dirty=True),
            "warn",
            "gov tx run depth",
        ),
        (NodeFolderFacts("depth", recorded_commit="1" * 40, commit="1" * 40, is_dirty=None), "unknown", None),
    ],
)
def test_changed_node_is_named_with_a_command(node: NodeFolderFacts, status: str, action: str | None) -> None:
    result = judge([NodeFolderFacts("other"), node])
    assert (result.status, result.items) == (status, ("depth",))
    assert result.action is None if action is None else action in (result.action or "")
