from __future__ import annotations

import pytest

from comfywatchman.governance.checks.nodes import (
    NodeFolderFacts,
    NodeFolderState,
    classify_node,
    judge_nodes,
    judge_unregistered,
)


@pytest.mark.parametrize(
    ("node", "state"),
    [
        (NodeFolderFacts("a", is_there=False), "gone"),
        (NodeFolderFacts("a", recorded="1" * 40, commit="2" * 40), "moved"),
        (NodeFolderFacts("a", recorded="1" * 40, commit=None), "moved"),
        (NodeFolderFacts("a", recorded="1" * 40, commit="1" * 40), "as-recorded"),
        (NodeFolderFacts("a", recorded="1" * 40, commit="1" * 40, is_dirty=True), "dirty"),
        (NodeFolderFacts("a", recorded="1" * 40, commit="1" * 40, is_dirty=None), "unknown"),
        (NodeFolderFacts("a", is_dirty=True), "dirty"),
        (NodeFolderFacts("a"), "as-recorded"),
    ],
)
def test_a_registered_node_is_held_against_its_record(node: NodeFolderFacts, state: NodeFolderState) -> None:
    assert classify_node(node) == state


def test_nodes_as_recorded_are_well() -> None:
    assert judge_nodes([]).evidence == "No custom node is registered."
    assert judge_nodes([NodeFolderFacts("a")]).evidence.startswith("1 registered node,")
    assert judge_nodes([NodeFolderFacts("a"), NodeFolderFacts("b")]).status == "ok"


@pytest.mark.parametrize(
    ("node", "status", "action"),
    [
        (NodeFolderFacts("depth", is_there=False), "fail", "gov node remove depth"),
        (NodeFolderFacts("depth", recorded="1" * 40, commit="2" * 40), "warn", "gov tx run depth"),
        (NodeFolderFacts("depth", recorded="1" * 40, commit="1" * 40, is_dirty=True), "warn", "gov tx run depth"),
        (NodeFolderFacts("depth", recorded="1" * 40, commit="1" * 40, is_dirty=None), "unknown", None),
    ],
)
def test_a_node_that_is_not_as_recorded_is_named_with_what_to_do(
    node: NodeFolderFacts, status: str, action: str | None
) -> None:
    result = judge_nodes([NodeFolderFacts("other"), node])
    assert (result.status, result.items) == (status, ("depth",))
    assert result.action is None if action is None else action in (result.action or "")


def test_unregistered_nodes_are_a_warning_with_a_command() -> None:
    assert judge_unregistered([]).status == "ok"
    assert judge_unregistered(["b", "a"]).action == "gov node add --adopt a"
