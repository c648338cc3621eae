"""How the active nodes of a workflow hang together, as far as a server checks it before it runs anything."""

from __future__ import annotations

from collections.abc import Collection
from sys import intern
from typing import Final

import msgspec

from comfywatchman.comfyui.workflow.document import Workflow, WorkflowFormat, WorkflowNode

_LONGEST_CHOICE: Final = 64
"""Characters of the longest text that is kept as a possible choice; prompts and notes are longer."""


class WiredNode(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """One active node.

    Attributes:
        path: As the server names it (`12:5`).
        class_type: Its class.
        sources: Paths of the nodes that feed it.
        texts: Short texts by input name, whatever they mean; by place (`#4`) where the file gives no names. Those that
            name a model are left out.
        unfed: Inputs without a widget that surely get nothing.
        given: In the server's own format, every input that the file gives; None in the editor's, which fills in.
        places: How many widget values there are, in a file that gives no names of them.
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
    """Return the active nodes of a workflow; none where ids stand twice, for then links are ambiguous.

    Args:
        workflow: The workflow.
        models: Node path and input name of the values that name a model; those are judged by themselves.
    """
    active = [node for node in workflow.nodes if node.active]
    if len({node.path for node in active}) < len(active):
        return ()
    is_api = workflow.format is WorkflowFormat.API
    return tuple(_build_wired_node(node, models, is_api=is_api) for node in active)


def _build_wired_node(node: WorkflowNode, models: Collection[tuple[str, str]], *, is_api: bool) -> WiredNode:
    places = 0 if any(node.widget_names) else len(node.positional)
    texts = {f"#{place}": value for place, value in enumerate(node.positional)} if places else node.values
    # The same few names recur in all nodes of all workflows: each is held once.
    return WiredNode(
        path=intern(node.path),
        class_type=intern(node.class_type),
        sources=tuple(map(intern, node.sources)),
        texts={
            intern(name): intern(value)
            for name, value in texts.items()
            if isinstance(value, str)
            and len(value) <= _LONGEST_CHOICE
            and "\n" not in value
            and (node.path, name) not in models
        },
        unfed=node.unfed,
        given=tuple(sorted({*node.values, *node.linked})) if is_api else None,
        places=places,
        fed=tuple(sorted(node.linked)) if places else (),
    )
