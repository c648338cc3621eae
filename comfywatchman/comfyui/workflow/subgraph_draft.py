"""A subgraph whose own inputs are being added while the file is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from comfywatchman.comfyui.workflow.graph import (
    PRIMITIVE,
    SUBGRAPH_INPUT,
    Graph,
    GraphLink,
    InputSlot,
    LinkId,
    RawNode,
)
from comfywatchman.comfyui.workflow.promotion import PromotedInput
from comfywatchman.comfyui.workflow.scopes import GraphDefinitions


class InputTarget(NamedTuple):
    """An input of an inner node: the node's id, and the position of the input."""

    node_id: str
    position: int


@dataclass(slots=True)
class SubgraphDraft:
    """A subgraph with the inputs added so far; files made to be slow can add very many.

    Attributes:
        known: Definitions of the file.
        subgraph_id: The subgraph.
        graph: The graph; its nodes by id and its links are the current ones, the rest is as read.
        nodes: Nodes by id; their inputs are the current ones after `_apply_slots`.
        links: Links by id.
        input_names: Names of the own inputs.
        input_links: The links of each own input; dictionaries, because links are removed one by one.
        promoted: Promoted inputs by position of the own input.
    """

    known: GraphDefinitions
    subgraph_id: str
    graph: Graph
    nodes: dict[str, RawNode]
    links: dict[LinkId, GraphLink]
    input_names: list[str]
    input_links: list[dict[LinkId, None]]
    promoted: dict[int, PromotedInput] = field(default_factory=dict)
    _names: dict[str, int] = field(default_factory=dict)
    _input_by_widget: dict[tuple[str, str], str] = field(default_factory=dict)
    _positions: dict[str, dict[str, int]] = field(default_factory=dict)
    _changed_slots: dict[str, list[InputSlot]] = field(default_factory=dict)
    _primitive_links: dict[str, list[LinkId]] = field(default_factory=dict)

    @classmethod
    def open(cls, known: GraphDefinitions, subgraph_id: str) -> SubgraphDraft:
        """Return a draft of a subgraph as it is."""
        graph = known.read_subgraph(subgraph_id)
        nodes, links = dict(graph.by_id), dict(graph.links)
        draft = cls(
            known=known,
            subgraph_id=subgraph_id,
            graph=replace(graph, by_id=nodes, links=links),
            nodes=nodes,
            links=links,
            input_names=list(graph.inputs),
            input_links=[dict.fromkeys(link_ids) for link_ids in graph.input_links],
        )
        for position in range(len(draft.input_names)):
            draft._update_promoted(position)
        draft._names = dict.fromkeys(draft.input_names, 1)
        for link_id, link in links.items():
            origin = nodes.get(link.origin)
            if origin is not None and origin.class_type == PRIMITIVE and link.origin_slot == 0:
                draft._primitive_links.setdefault(origin.id, []).append(link_id)
        draft._index_widgets()
        return draft

    def build_graph(self) -> Graph:
        """Return the subgraph as it is now."""
        self._apply_slots()
        nodes = tuple(self.nodes[node.id] if self._is_first(node) else node for node in self.graph.nodes)
        return replace(
            self.graph,
            nodes=nodes,
            inputs=tuple(self.input_names),
            input_links=tuple(tuple(link_ids) for link_ids in self.input_links),
        )

    def _is_first(self, node: RawNode) -> bool:
        return self.nodes[node.id].raw is node.raw

    def find_own_input(self, node_id: str, widget: str) -> str | None:
        """Return the own input that shows a widget."""
        return self._input_by_widget.get((node_id, widget))

    def has_input(self, name: str) -> bool:
        """Return whether the subgraph has an own input of a name."""
        return name in self._names

    def find_position(self, node: RawNode, name: str) -> int | None:
        """Return the position of the first input of a node with a name."""
        if node.id not in self._positions:
            positions: dict[str, int] = {}
            for position, slot in enumerate(node.slots):
                positions.setdefault(slot.name, position)
            self._positions[node.id] = positions
        return self._positions[node.id].get(name)

    def get_slot(self, target: InputTarget) -> InputSlot:
        """Return an input as it is now."""
        return self._edit_slots(target.node_id)[target.position]

    def add_slot(self, node: RawNode, name: str) -> int:
        """Give a node an input for a widget that the file does not list among its inputs; return its position."""
        slots = self._edit_slots(node.id)
        slots.append(InputSlot(name, "", None, name))
        self._positions.setdefault(node.id, {})[name] = len(slots) - 1
        return len(slots) - 1

    def _edit_slots(self, node_id: str) -> list[InputSlot]:
        # A list, because copying the inputs of a wide node for each change takes too long.
        if node_id not in self._changed_slots:
            self._changed_slots[node_id] = list(self.nodes[node_id].slots)
        return self._changed_slots[node_id]

    def _apply_slots(self) -> None:
        for node_id, slots in self._changed_slots.items():
            self.nodes[node_id] = replace(self.nodes[node_id], slots=tuple(slots))
        self._changed_slots.clear()

    def list_primitive_targets(self, primitive: RawNode, data_type: str) -> list[InputTarget] | None:
        """Return the inputs that a PrimitiveNode feeds; None if there are none, or one of another type."""
        self._apply_slots()
        targets: list[InputTarget] = []
        for link_id in self._primitive_links.get(primitive.id, ()):
            if link_id not in self.links:
                continue
            target = self.graph.find_target(link_id)
            if target is None:
                return None
            node, slot = target
            if slot.type not in ("", "*", data_type) and data_type != "*":
                return None
            targets.append(InputTarget(node.id, node.slots.index(slot)))
        return targets or None

    def add_input(self, wanted_name: str, targets: Sequence[InputTarget]) -> str:
        """Add an own input, link it to inputs in place of their links, and return its name."""
        name = self._choose_name(wanted_name)
        number = len(self.input_names)
        self.input_names.append(name)
        self.input_links.append({})
        for node_id, position in targets:
            slot = self._edit_slots(node_id)[position]
            if slot.link is not None:
                self._remove_link(slot.link)
            link_id = f"own-{number}-{len(self.input_links[number])}"
            self.links[link_id] = GraphLink(SUBGRAPH_INPUT, number, node_id, position)
            self.input_links[number][link_id] = None
            self._edit_slots(node_id)[position] = slot._replace(link=link_id)
            widget = self.known.find_widget(self.nodes[node_id], slot)
            if widget is not None and number not in self.promoted:
                self.promoted[number] = PromotedInput(name, node_id, widget)
                self._input_by_widget.setdefault((node_id, widget), name)
        return name

    def _choose_name(self, wanted: str) -> str:
        """Return a name that no own input has: the wanted one, or with a number."""
        name = wanted
        while name in self._names:
            name = f"{wanted}_{self._names[wanted]}"
            self._names[wanted] += 1
        self._names[name] = 1
        return name

    def _remove_link(self, link_id: LinkId) -> None:
        link = self.links.pop(link_id, None)
        if link is None or link.origin != SUBGRAPH_INPUT or not 0 <= link.origin_slot < len(self.input_links):
            return
        self.input_links[link.origin_slot].pop(link_id, None)
        self._apply_slots()
        before = self.promoted.get(link.origin_slot)
        self._update_promoted(link.origin_slot)
        if self.promoted.get(link.origin_slot) != before:
            self._index_widgets()

    def _update_promoted(self, position: int) -> None:
        name, link_ids = self.input_names[position], self.input_links[position]
        promoted = self.known.find_promoted_input(self.graph, name, link_ids)
        if promoted is not None:
            self.promoted[position] = promoted
        else:
            self.promoted.pop(position, None)

    def _index_widgets(self) -> None:
        self._input_by_widget.clear()
        for promoted in self.promoted.values():
            self._input_by_widget.setdefault((promoted.node_id, promoted.widget), promoted.name)
