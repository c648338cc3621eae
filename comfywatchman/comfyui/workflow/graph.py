"""One graph of the editor's file format, in any of its notations: nodes, their input slots, and links."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
REROUTE: Final = "Reroute"
REROUTES: Final = frozenset({REROUTE, "Reroute (rgthree)"})
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
        input_links: For each of the subgraph's own inputs, the ids of the links that it lists.
        outputs: For each of the subgraph's own outputs, the id of the link that feeds it.
        setters: SetNode by the name under which it publishes.
    """

    nodes: tuple[RawNode, ...]
    by_id: Mapping[str, RawNode]
    links: Mapping[LinkId, GraphLink]
    inputs: tuple[str, ...] = ()
    input_links: tuple[tuple[LinkId, ...], ...] = ()
    outputs: tuple[LinkId | None, ...] = ()
    setters: Mapping[str, RawNode] = field(default_factory=dict)

    def find_target(self, link_id: LinkId) -> tuple[RawNode, InputSlot] | None:
        """Return the node and the input at which a link ends; None if there is no such input."""
        link = self.links[link_id]
        node = self.by_id.get(link.target)
        if node is None:
            return None
        # The slot number of a link can be stale: editors reorder inputs.
        for slot in node.slots:
            if slot.link == link_id:
                return node, slot
        slot_at_position = get_item(node.slots, link.target_slot)
        return (node, slot_at_position) if slot_at_position is not None else None

    def find_first_links(self) -> dict[str, LinkId]:
        """Return the link with the lowest id that leaves the first output of each node, by node id."""
        first: dict[str, LinkId] = {}
        for link_id in sorted(self.links, key=lambda link_id: (isinstance(link_id, str), link_id)):
            link = self.links[link_id]
            if link.origin_slot == 0:
                first.setdefault(link.origin, link_id)
        return first


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
    nodes = _connect_slots(nodes, links)
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
    inputs = as_list(raw.get("inputs"))
    return Graph(
        nodes=nodes,
        by_id=by_id,
        links=links,
        inputs=tuple(_get_slot_name(slot) for slot in inputs),
        input_links=tuple(tuple(_list_links(slot, links)) for slot in inputs),
        outputs=tuple(next(_list_links(slot, links), None) for slot in as_list(raw.get("outputs"))),
        setters=setters,
    )


def _connect_slots(nodes: tuple[RawNode, ...], links: Mapping[LinkId, GraphLink]) -> tuple[RawNode, ...]:
    """Return the nodes with the links that the editor restores: those of the link list, where it ends at the node.

    A slot's own link id only tells which of several slots or links is meant.
    """
    links_by_node: dict[str, dict[LinkId, GraphLink]] = {}
    for link_id, link in links.items():
        links_by_node.setdefault(link.target, {})[link_id] = link
    connected: list[RawNode] = []
    for node in nodes:
        slots = _find_slot_links(node.slots, links_by_node.get(node.id, {}))
        connected.append(RawNode(node.id, node.class_type, node.mode, slots, node.raw))
    return tuple(connected)


def _find_slot_links(slots: tuple[InputSlot, ...], links: Mapping[LinkId, GraphLink]) -> tuple[InputSlot, ...]:
    """Return a node's slots with the links that end at them, of all links that end at the node."""
    kept = [slot if slot.link is None or slot.link in links else slot._replace(link=None) for slot in slots]
    named = {slot.link for slot in kept}
    for link_id, link in links.items():
        slot = get_item(kept, link.target_slot)
        if link_id not in named and slot is not None and slot.link is None:
            kept[link.target_slot] = slot._replace(link=link_id)
    return tuple(kept)


def _list_links(raw_slot: object, links: Mapping[LinkId, GraphLink]) -> Iterator[LinkId]:
    """Yield the links that a subgraph's own input or output lists, without those that do not exist."""
    # The editor goes by this list, not by the ends of the links.
    for link_id in as_list(as_mapping(raw_slot).get("linkIds")):
        if isinstance(link_id, (int, str)) and link_id in links:
            yield link_id


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
