"""One graph of the editor's file format: nodes, their slots and links, whatever way they are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from comfywatchman.comfyui.workflow.document import WorkflowProblem

SUBGRAPH_INPUT: Final = "-10"
"""Node id that stands for a subgraph's own inputs in its links (frontend schema, every version)."""

SUBGRAPH_OUTPUT: Final = "-20"
"""Node id that stands for a subgraph's own outputs in its links."""

MUTED: Final = 2
BYPASSED: Final = 4

NOTES: Final = frozenset({"Note", "MarkdownNote"})
REROUTES: Final = frozenset({"Reroute", "Reroute (rgthree)"})
GETTERS: Final = frozenset({"GetNode", "easy getNode"})
SETTERS: Final = frozenset({"SetNode", "easy setNode"})
PRIMITIVE: Final = "PrimitiveNode"
VIRTUAL: Final = NOTES | REROUTES | GETTERS | SETTERS | {PRIMITIVE}
"""Classes that exist in the editor only; the server never gets them."""

LinkId = int | str


class InputSlot(NamedTuple):
    """One input of a node.

    Attributes:
        name: Input name.
        type: Data type, as text; empty when the file does not say.
        link: Id of the link that ends here, or None.
        widget: Name of the widget behind the input, or None for an input that takes links only.
    """

    name: str
    type: str
    link: LinkId | None
    widget: str | None


class GraphLink(NamedTuple):
    """Where a link comes from and goes to; node ids are text."""

    origin: str
    origin_slot: int
    target: str
    target_slot: int


@dataclass(frozen=True, slots=True)
class RawNode:
    """A node as the file has it."""

    id: str
    class_type: str
    mode: int
    slots: tuple[InputSlot, ...]
    raw: Mapping[str, object]

    @property
    def is_switched_off(self) -> bool:
        """Say whether the node itself is muted or bypassed."""
        return self.mode in (MUTED, BYPASSED)

    @property
    def properties(self) -> Mapping[str, object]:
        """The node's `properties`, empty when they are missing or malformed."""
        return as_mapping(self.raw.get("properties"))

    def slot(self, name: str) -> InputSlot | None:
        """Find an input by its name."""
        return next((slot for slot in self.slots if slot.name == name), None)


@dataclass(frozen=True, slots=True)
class Graph:
    """A graph, or the graph inside a subgraph or group.

    Attributes:
        nodes: Nodes in file order.
        by_id: The same by id; the first wins when an id stands twice.
        links: Links by id.
        inputs: Names of the subgraph's own inputs by slot; empty for the outermost graph.
        outputs: For each of the subgraph's own outputs, the id of the link that feeds it.
        setters: SetNode by the name under which it publishes.
        widget_inputs: Names of the subgraph's own inputs that feed a widget, in order: a host gives values for those.
    """

    nodes: tuple[RawNode, ...]
    by_id: Mapping[str, RawNode]
    links: Mapping[LinkId, GraphLink]
    inputs: tuple[str, ...] = ()
    outputs: tuple[LinkId | None, ...] = ()
    setters: Mapping[str, RawNode] = field(default_factory=dict)
    widget_inputs: tuple[str, ...] = ()


def as_mapping(value: object) -> Mapping[str, object]:
    """Give the value if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[object]:
    """Give the value if it is a JSON array, else an empty one."""
    return value if isinstance(value, list) else []


def as_text(value: object) -> str | None:
    """Give the value if it is a non-empty text."""
    return value if isinstance(value, str) and value else None


def as_id(value: object) -> str | None:
    """Give a node or link id as text; None for anything that cannot be one."""
    if type(value) is int:
        return str(value)
    return value if isinstance(value, str) else None


def get_first_text(raw: Mapping[str, object]) -> str | None:
    """Give a node's first widget value if it is text (the name of a Get or Set node)."""
    values = raw.get("widgets_values")
    if isinstance(values, dict):
        values = list(values.values())
    return as_text(values[0]) if isinstance(values, list) and values else None


def read_graph(raw: Mapping[str, object], problems: list[WorkflowProblem]) -> Graph:
    """Read a graph as far as it goes.

    Args:
        raw: The workflow itself or a subgraph's definition.
        problems: Takes what was wrong.
    """
    nodes = _parse_nodes(as_list(raw.get("nodes")), problems)
    links = _parse_links(as_list(raw.get("links")), problems)
    by_id: dict[str, RawNode] = {}
    problems.extend(
        WorkflowProblem("duplicate-node-id", f"Two nodes have the id {node.id}.", node.id)
        for node in nodes
        if by_id.setdefault(node.id, node) is not node
    )
    inputs = tuple(_get_slot_name(slot) for slot in as_list(raw.get("inputs")))
    return Graph(
        nodes=nodes,
        by_id=by_id,
        links=links,
        inputs=inputs,
        outputs=_parse_outputs(as_list(raw.get("outputs")), links),
        setters={name: node for node in nodes if node.class_type in SETTERS and (name := get_first_text(node.raw))},
        widget_inputs=_find_widget_inputs(inputs, links, by_id),
    )


def _find_widget_inputs(
    inputs: tuple[str, ...], links: Mapping[LinkId, GraphLink], by_id: Mapping[str, RawNode]
) -> tuple[str, ...]:
    if not inputs:
        return ()
    own = [link for link in links.values() if link.origin == SUBGRAPH_INPUT]
    fed = {link.origin_slot for link in own if _has_widget(by_id.get(link.target), link.target_slot)}
    return tuple(name for slot, name in enumerate(inputs) if slot in fed)


def _has_widget(target: RawNode | None, slot: int) -> bool:
    slots = target.slots if target else ()
    return 0 <= slot < len(slots) and slots[slot].widget is not None


def _parse_nodes(listed: list[object], problems: list[WorkflowProblem]) -> tuple[RawNode, ...]:
    nodes = []
    for place, raw in enumerate(listed):
        class_type = raw.get("type") if isinstance(raw, dict) else None
        if not isinstance(raw, dict) or not isinstance(class_type, str) or not class_type:
            problems.append(WorkflowProblem("node-unreadable", f"Entry {place} of the node list is no node."))
            continue
        identity = as_id(raw.get("id"))
        if identity is None:
            identity = f"#{place}"
            problems.append(WorkflowProblem("node-without-id", f"A {class_type} node has no usable id.", identity))
        mode = raw.get("mode")
        slots = tuple(_parse_slot(slot) for slot in as_list(raw.get("inputs")))
        nodes.append(RawNode(identity, class_type, mode if isinstance(mode, int) else 0, slots, raw))
    return tuple(nodes)


def _parse_slot(raw: object) -> InputSlot:
    # A malformed slot keeps its place: links name slots by number.
    if not isinstance(raw, dict):
        return InputSlot("", "", None, None)
    get = raw.get
    name, kind, link, widget = get("name"), get("type"), get("link"), get("widget")
    widget_name = widget.get("name") if isinstance(widget, dict) else None
    return InputSlot(
        name if isinstance(name, str) else "",
        kind if isinstance(kind, str) else "",
        link if isinstance(link, (int, str)) else None,
        widget_name if isinstance(widget_name, str) else None,
    )


def _get_slot_name(raw: object) -> str:
    return as_text(as_mapping(raw).get("name")) or ""


def _parse_outputs(listed: list[object], links: Mapping[LinkId, GraphLink]) -> tuple[LinkId | None, ...]:
    fed = {link.target_slot: identity for identity, link in links.items() if link.target == SUBGRAPH_OUTPUT}
    return tuple(fed.get(slot) for slot in range(len(listed)))


def _parse_links(listed: list[object], problems: list[WorkflowProblem]) -> dict[LinkId, GraphLink]:
    links: dict[LinkId, GraphLink] = {}
    for raw in listed:
        fields = _parse_link(raw)
        if fields is None:
            if raw is not None:  # the editor leaves null in the list where a link was removed
                problems.append(WorkflowProblem("link-unreadable", "An entry of the link list is no link."))
            continue
        identity, link = fields
        links[identity] = link
    return links


def _parse_link(raw: object) -> tuple[LinkId, GraphLink] | None:
    if isinstance(raw, list) and len(raw) >= 5:  # noqa: PLR2004 - id, origin, slot, target, slot, then type
        identity, origin, origin_slot, target, target_slot = raw[:5]
    elif isinstance(raw, dict):
        get = raw.get
        identity, origin, origin_slot = get("id"), get("origin_id"), get("origin_slot")
        target, target_slot = get("target_id"), get("target_slot")
    else:
        return None
    from_node, to_node = as_id(origin), as_id(target)
    if not isinstance(identity, (int, str)) or from_node is None or to_node is None:
        return None
    if not isinstance(origin_slot, int) or not isinstance(target_slot, int):
        return None
    return identity, GraphLink(from_node, origin_slot, to_node, target_slot)
