"""The active nodes of a workflow and their links, reduced to the parts that a server validates before a run."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from sys import intern
from typing import Final

import msgspec

from comfywatchman.comfyui.workflow.document import Workflow, WorkflowFormat, WorkflowNode

_LONGEST_CHOICE: Final = 64
"""Longest text that is kept as a possible choice, in characters; prompts and notes are longer."""


class WiredNode(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """An active node.

    Attributes:
        path: Its path as the server writes it (`12:5`).
        class_type: Its class.
        sources: Paths of the nodes that feed it.
        texts: Short texts by input name, or by widget index (`#4`) where the file gives no names; without names of
            models.
        unfed: Inputs without a widget that certainly get nothing.
        given: Every input of a file in the API format; None in the editor's format, which the editor completes.
        places: Number of widget values in a file that gives no names of them; otherwise 0.
        fed: Inputs that a link feeds, in such a file.
    """

    path: str
    class_type: str
    sources: tuple[str, ...] = ()
    texts: dict[str, str] = {}
    unfed: tuple[str, ...] = ()
    given: tuple[str, ...] | None = None
    places: int = 0
    fed: tuple[str, ...] = ()


def build_wiring(workflow: Workflow, models: Collection[tuple[str, str]]) -> tuple[WiredNode, ...]:
    """Return the active nodes of a workflow; none if an id occurs twice, since its links are ambiguous.

    Args:
        workflow: The workflow.
        models: Node path and input name of each value that names a model; models are judged separately.
    """
    active = [node for node in workflow.nodes if node.active]
    if len({node.path for node in active}) < len(active):
        return ()
    is_api = workflow.format is WorkflowFormat.API
    return tuple(_build_node(node, models, is_api=is_api) for node in active)


def _build_node(node: WorkflowNode, models: Collection[tuple[str, str]], *, is_api: bool) -> WiredNode:
    values: Mapping[str, object] = node.values
    given: tuple[str, ...] | None = None
    fed: tuple[str, ...] = ()
    places = 0
    if is_api:
        given = tuple(sorted({*node.values, *node.linked}))
    if not any(node.widget_names) and node.positional:
        # The file gives no names: values are known by their index, links by their input.
        values = {f"#{index}": value for index, value in enumerate(node.positional)}
        places = len(node.positional)
        fed = tuple(sorted(node.linked))
    # The same few names recur in all nodes of all workflows: interning holds each of them once.
    return WiredNode(
        path=intern(node.path),
        class_type=intern(node.class_type),
        sources=tuple(dict.fromkeys(intern(link.path) for link in node.links.values())),
        texts=_collect_texts(node, values, models),
        unfed=node.unfed,
        given=given,
        places=places,
        fed=fed,
    )


def _collect_texts(
    node: WorkflowNode, values: Mapping[str, object], models: Collection[tuple[str, str]]
) -> dict[str, str]:
    texts: dict[str, str] = {}
    for name, value in values.items():
        if not isinstance(value, str) or (node.path, name) in models:
            continue
        if len(value) <= _LONGEST_CHOICE and "\n" not in value:
            texts[intern(name)] = intern(value)
    return texts
