from __future__ import annotations

import pytest

from comfywatchman.governance.checks.nodes import NodeFacts, State, nodes_result, state_of, unregistered_result


@pytest.mark.parametrize(
    ("node", "state"),
    [
        (NodeFacts("a", is_there=False), "gone"),
        (NodeFacts("a", recorded="1" * 40, commit="2" * 40), "moved"),
        (NodeFacts("a", recorded="1" * 40, commit=None), "moved"),
        (NodeFacts("a", recorded="1" * 40, commit="1" * 40), "as-recorded"),
        (NodeFacts("a", recorded="1" * 40, commit="1" * 40, is_dirty=True), "dirty"),
        (NodeFacts("a", recorded="1" * 40, commit="1" * 40, is_dirty=None), "unknown"),
        (NodeFacts("a", is_dirty=True), "dirty"),
        (NodeFacts("a"), "as-recorded"),
    ],
)
def test_a_registered_node_is_held_against_its_record(node: NodeFacts, state: State) -> None:
    assert state_of(node) == state


def test_nodes_as_recorded_are_well() -> None:
    assert nodes_result([]).evidence == "No custom node is registered."
    assert nodes_result([NodeFacts("a")]).evidence.startswith("1 registered node,")
    assert nodes_result([NodeFacts("a"), NodeFacts("b")]).status == "ok"


@pytest.mark.parametrize(
    ("node", "status", "action"),
    [
        (NodeFacts("depth", is_there=False), "fail", "gov node remove depth"),
        (NodeFacts("depth", recorded="1" * 40, commit="2" * 40), "warn", "gov tx run depth"),
        (NodeFacts("depth", recorded="1" * 40, commit="1" * 40, is_dirty=True), "warn", "gov tx run depth"),
        (NodeFacts("depth", recorded="1" * 40, commit="1" * 40, is_dirty=None), "unknown", None),
    ],
)
def test_a_node_that_is_not_as_recorded_is_named_with_what_to_do(
    node: NodeFacts, status: str, action: str | None
) -> None:
    result = nodes_result([NodeFacts("other"), node])
    assert (result.status, result.items) == (status, ("depth",))
    assert result.action is None if action is None else action in (result.action or "")


def test_installed_nodes_that_nobody_registered_are_a_warning_with_the_command() -> None:
    assert unregistered_result([]).status == "ok"
    assert unregistered_result(["b", "a"]).action == "gov node add --adopt a"
