"""Nodes that no output needs."""

from __future__ import annotations

import pytest

from comfywatchman.comfyui.validation.needed_nodes import find_unneeded_nodes
from comfywatchman.comfyui.validation.prompt import PromptNode
from comfywatchman.comfyui.validation.rules import ValidationRules
from comfywatchman.comfyui.validation.signature import NodeSignature
from comfywatchman.comfyui.workflow.document import LinkSource

RULES = ValidationRules(
    {
        "Load": NodeSignature(is_output=False, has_editor_code=False),
        "Save": NodeSignature(is_output=True, has_editor_code=False),
        "PackLoad": NodeSignature(is_output=False, has_editor_code=True),
    }
)


def node(path: str, class_type: str, *sources: str, linked: tuple[str, ...] = (), is_api: bool = False) -> PromptNode:
    links = {f"input{index}": LinkSource(source, 0) for index, source in enumerate(sources)}
    return PromptNode(path, class_type, links=links, linked=linked, given=tuple(links) if is_api else None)


def test_nodes_without_a_way_to_an_output_are_not_needed() -> None:
    nodes = [node("1", "Load"), node("2", "Load", "1"), node("3", "Save", "1"), node("4", "Load", "2")]
    assert find_unneeded_nodes(nodes, RULES) == {"2", "4"}


def test_link_from_nowhere_is_ignored() -> None:
    assert find_unneeded_nodes([node("1", "Load"), node("3", "Save", "9")], RULES) == {"1"}


@pytest.mark.parametrize(
    "doubtful",
    [node("3", "Save", linked=("images",)), node("3", "PackLoad"), node("3", "Unknown")],
    ids=["unknown source", "code for the editor", "unknown class"],
)
def test_every_node_may_be_needed_while_something_is_in_doubt(doubtful: PromptNode) -> None:
    assert find_unneeded_nodes([node("1", "Load"), doubtful, node("4", "Save")], RULES) == frozenset()


def test_prompt_of_the_api_is_sent_as_it_is() -> None:
    nodes = [node("1", "Load", is_api=True), node("2", "Unknown", is_api=True), node("3", "PackLoad", is_api=True)]
    assert find_unneeded_nodes(nodes, RULES) == {"1", "3"}
