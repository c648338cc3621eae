"""One graph of the editor's file format, in any of its notations: nodes, their input slots, and links."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

from comfywatchman.base.json_values import as_list, as_mapping, as_text
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
"""Classes that exist in the editor only; the server never receives them."""

_LINK_FIELDS: Final = 5

LinkId = int | str

T = TypeVar("T")


class InputSlot(NamedTuple):
    """One input of a node.

    Attributes:
        name: Input name.
        type: Data type, as text; empty when the file does not give it.
        link: Id of the link that ends here, or None.
        widget: Name of the widget behind the input, or None for an input that takes links only.
    """

    name: str
    type: str
    link: LinkId | None
    widget: str | None


class GraphLink(NamedTuple):
    """Origin and target of a link; node ids are text."""

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
        """Whether the node itself is muted or bypassed."""
        return self.mode in (MUTED, BYPASSED)

    @property
    def properties(self) -> Mapping[str, object]:
        """The node's `properties`; empty when missing or malformed."""
        return as_mapping(self.raw.get("properties"))

    def find_slot(self, name: str) -> InputSlot | None:
        """Return the first input with a name."""
        for slot in self.slots:
            if slot.name == name:
                return slot
        return None


@dataclass(frozen=True, slots=True)
class Graph:
    """The outermost graph of a workflow, or the graph inside a subgraph or group.

    Attributes:
        nodes: Nodes in file order.
        by_id: The same by id; the first one with a repeated id.
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


def as_id(value: object) -> str | None:
    """Return a node or link id as text; None for anything that cannot be one."""
    # `type() is`, because a boolean is an `int` in Python but no id.
    if type(value) is int:
        return str(value)
    return value if isinstance(value, str) else None


def get_item(items: Sequence[T], position: int) -> T | None:
    """Return an item by its position, None if there is none; positions in files may be negative or too large."""
    return items[position] if 0 <= position < len(items) else None


def get_first_text(raw: Mapping[str, object]) -> str | None:
    """Return a node's first widget value if it is text (the name of a Get or Set node)."""
    values = raw.get("widgets_values")
    if isinstance(values, dict):
        values = list(values.values())
    if isinstance(values, list) and values:
        return as_text(values[0])
    return None


def read_graph(raw: Mapping[str, object], problems: list[WorkflowProblem]) -> Graph:
    """Read a graph as far as possible.

    Args:
        raw: The workflow itself or a subgraph's definition.
        problems: Defects are appended here.
    """
    nodes = _parse_nodes(as_list(raw.get("nodes")), problems)
    links = _parse_links(as_list(raw.get("links")), problems)
    by_id: dict[str, RawNode] = {}
    setters: dict[str, RawNode] = {}
    for node in nodes:
        if node.id in by_id:
            problems.append(WorkflowProblem("duplicate-node-id", f"Two nodes have the id {node.id}.", node.id))
        else:
            by_id[node.id] = node
        name = get_first_text(node.raw) if node.class_type in SETTERS else None
        if name is not None:
            setters[name] = node
    inputs = tuple(_get_slot_name(slot) for slot in as_list(raw.get("inputs")))
    return Graph(
        nodes=nodes,
        by_id=by_id,
        links=links,
        inputs=inputs,
        outputs=_parse_outputs(as_list(raw.get("outputs")), links),
        setters=setters,
        widget_inputs=_find_widget_inputs(inputs, links, by_id),
    )


def _find_widget_inputs(
    inputs: tuple[str, ...], links: Mapping[LinkId, GraphLink], by_id: Mapping[str, RawNode]
) -> tuple[str, ...]:
    """Return the names of a subgraph's own inputs that are linked to an inner widget."""
    if not inputs:
        return ()
    widget_slots: set[int] = set()
    for link in links.values():
        if link.origin == SUBGRAPH_INPUT and _has_widget(by_id.get(link.target), link.target_slot):
            widget_slots.add(link.origin_slot)
    return tuple(name for slot, name in enumerate(inputs) if slot in widget_slots)


def _has_widget(target: RawNode | None, slot: int) -> bool:
    target_slot = get_item(target.slots, slot) if target is not None else None
    return target_slot is not None and target_slot.widget is not None


def _parse_nodes(entries: list[object], problems: list[WorkflowProblem]) -> tuple[RawNode, ...]:
    nodes: list[RawNode] = []
    for position, raw in enumerate(entries):
        if not isinstance(raw, dict) or as_text(raw.get("type")) is None:
            problems.append(WorkflowProblem("node-unreadable", f"Entry {position} of the node list is not a node."))
            continue
        class_type = raw["type"]
        node_id = as_id(raw.get("id"))
        if node_id is None:
            node_id = f"#{position}"
            problems.append(WorkflowProblem("node-without-id", f"A {class_type} node has no usable id.", node_id))
        mode = raw.get("mode")
        slots = tuple(_parse_slot(slot) for slot in as_list(raw.get("inputs")))
        nodes.append(RawNode(node_id, class_type, mode if isinstance(mode, int) else 0, slots, raw))
    return tuple(nodes)


def _parse_slot(raw: object) -> InputSlot:
    # A malformed slot keeps its position: links refer to slots by number.
    slot = as_mapping(raw)
    link = slot.get("link")
    return InputSlot(
        name=as_text(slot.get("name")) or "",
        type=as_text(slot.get("type")) or "",
        link=link if isinstance(link, (int, str)) else None,
        widget=_get_widget_name(slot),
    )


def _get_widget_name(slot: Mapping[str, object]) -> str | None:
    name = as_mapping(slot.get("widget")).get("name")
    return name if isinstance(name, str) else None


def _get_slot_name(raw: object) -> str:
    return as_text(as_mapping(raw).get("name")) or ""


def _parse_outputs(entries: list[object], links: Mapping[LinkId, GraphLink]) -> tuple[LinkId | None, ...]:
    link_by_slot: dict[int, LinkId] = {}
    for link_id, link in links.items():
        if link.target == SUBGRAPH_OUTPUT:
            link_by_slot[link.target_slot] = link_id
    return tuple(link_by_slot.get(slot) for slot in range(len(entries)))


def _parse_links(entries: list[object], problems: list[WorkflowProblem]) -> dict[LinkId, GraphLink]:
    links: dict[LinkId, GraphLink] = {}
    for raw in entries:
        if raw is None:
            # The editor leaves null in the list where a link was removed.
            continue
        parsed = _parse_link(raw)
        if parsed is None:
            problems.append(WorkflowProblem("link-unreadable", "An entry of the link list is not a link."))
            continue
        link_id, link = parsed
        links[link_id] = link
    return links


def _parse_link(raw: object) -> tuple[LinkId, GraphLink] | None:
    """Return id and link of an entry, which is an array in format 0.4 and an object in version 1."""
    if isinstance(raw, list) and len(raw) >= _LINK_FIELDS:
        # The array has the data type as its sixth field.
        link_id, origin, origin_slot, target, target_slot = raw[:_LINK_FIELDS]
    elif isinstance(raw, dict):
        link_id = raw.get("id")
        origin, origin_slot = raw.get("origin_id"), raw.get("origin_slot")
        target, target_slot = raw.get("target_id"), raw.get("target_slot")
    else:
        return None
    origin_id, target_id = as_id(origin), as_id(target)
    if not isinstance(link_id, (int, str)) or origin_id is None or target_id is None:
        return None
    if not isinstance(origin_slot, int) or not isinstance(target_slot, int):
        return None
    return link_id, GraphLink(origin_id, origin_slot, target_id, target_slot)
