"""Group nodes, the editor's older kind of subgraph: the graph inside an instance, with the instance's values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from comfywatchman.base.json_values import as_list, as_mapping
from comfywatchman.comfyui.loaders.table import LoaderTable
from comfywatchman.comfyui.workflow.document import WorkflowProblem
from comfywatchman.comfyui.workflow.graph import (
    SUBGRAPH_INPUT,
    Graph,
    GraphLink,
    InputSlot,
    LinkId,
    RawNode,
    as_id,
    get_item,
    read_graph,
)
from comfywatchman.comfyui.workflow.widgets import NodeWidgets, read_stored_widgets

_PREFIXES: Final = ("workflow>", "workflow/")
_LINK_FIELDS: Final = 4


def find_group_definition(class_type: str, groups: Mapping[str, object]) -> Mapping[str, object] | None:
    """Return the definition of a group instance's class; None for every other class."""
    name = class_type
    if class_type.startswith(_PREFIXES):
        name = class_type[len(_PREFIXES[0]) :]
    for candidate in (name, class_type):
        definition = groups.get(candidate)
        if isinstance(definition, dict) and isinstance(definition.get("nodes"), list):
            return definition
    return None


def build_group_graph(
    host: RawNode, definition: Mapping[str, object], table: LoaderTable, *, path: str, problems: list[WorkflowProblem]
) -> Graph:
    """Build the graph inside one group instance, with the instance's widget values.

    The values of the definition date from when the group was created. An instance lists the widgets of all inner nodes
    in order, except those that were converted to inputs.

    Args:
        host: The instance.
        definition: The entry of its class in `extra.groupNodes`.
        table: Gives the widget order of loader classes.
        path: Path of the instance, for problems.
        problems: Defects are appended here.
    """
    inner = read_graph({"nodes": _assign_node_ids(definition)}, problems)
    links = _parse_inner_links(definition)
    nodes = _connect_inputs(inner.nodes, links, host)
    nodes = _apply_instance_values(host, nodes, table, path=path, problems=problems)
    input_names = tuple(slot.name for slot in host.slots)
    return Graph(nodes, {node.id: node for node in nodes}, links, input_names, setters=inner.setters)


def _assign_node_ids(definition: Mapping[str, object]) -> list[object]:
    """Return the inner nodes with their `index` as id, by which the inner links refer to them."""
    nodes: list[object] = []
    for position, node in enumerate(as_list(definition.get("nodes"))):
        if isinstance(node, dict):
            index = node.get("index")
            nodes.append({**node, "id": index if isinstance(index, int) else position})
        else:
            # Kept, so that `read_graph` reports it.
            nodes.append(node)
    return nodes


def _parse_inner_links(definition: Mapping[str, object]) -> dict[LinkId, GraphLink]:
    """Parse the links of a definition: origin, its slot, target, its slot."""
    links: dict[LinkId, GraphLink] = {}
    for position, raw in enumerate(as_list(definition.get("links"))):
        if not isinstance(raw, list) or len(raw) < _LINK_FIELDS:
            continue
        origin, origin_slot, target, target_slot = raw[:_LINK_FIELDS]
        origin_id, target_id = as_id(origin), as_id(target)
        if not origin_id or not target_id:
            continue
        if isinstance(origin_slot, int) and isinstance(target_slot, int):
            links[f"inner-{position}"] = GraphLink(origin_id, origin_slot, target_id, target_slot)
    return links


def _connect_inputs(nodes: tuple[RawNode, ...], links: dict[LinkId, GraphLink], host: RawNode) -> tuple[RawNode, ...]:
    """Return the inner nodes with the links that feed them: inner ones, or those of the instance's own inputs.

    Args:
        nodes: The inner nodes.
        links: The inner links; those from the instance's inputs are added.
        host: The instance.
    """
    link_by_input = {(link.target, link.target_slot): link_id for link_id, link in links.items()}
    unused_host_slots = [(position, slot) for position, slot in enumerate(host.slots) if slot.link is not None]
    connected: list[RawNode] = []
    for node in nodes:
        slots: list[InputSlot] = []
        for position, slot in enumerate(node.slots):
            # The stored link ids are those of the graph that the group was made from; they mean nothing here.
            link_id = link_by_input.get((node.id, position))
            if link_id is None and slot.widget is not None:
                link_id = _link_from_host(node, position, unused_host_slots, links)
            slots.append(slot._replace(link=link_id))
        connected.append(RawNode(node.id, node.class_type, node.mode, tuple(slots), node.raw))
    return tuple(connected)


def _link_from_host(
    node: RawNode, position: int, unused_host_slots: list[tuple[int, InputSlot]], links: dict[LinkId, GraphLink]
) -> LinkId | None:
    """Link the first unused input of the instance that has the name of a converted widget."""
    name = node.slots[position].name
    for entry in unused_host_slots:
        host_position, host_slot = entry
        # The editor prefixes the name with the node's title when two inner nodes have the same input.
        if host_slot.name == name or host_slot.name.endswith(f" {name}"):
            unused_host_slots.remove(entry)
            link_id = f"outer-{host_position}"
            links[link_id] = GraphLink(SUBGRAPH_INPUT, host_position, node.id, position)
            return link_id
    return None


def _apply_instance_values(
    host: RawNode,
    nodes: tuple[RawNode, ...],
    table: LoaderTable,
    *,
    path: str,
    problems: list[WorkflowProblem],
) -> tuple[RawNode, ...]:
    """Return the inner nodes with the values of the instance, matched by their number."""
    values = as_list(host.raw.get("widgets_values"))
    if not values:
        return nodes
    widgets_by_node = [read_stored_widgets(node, table, path=path, problems=[]) for node in nodes]
    # Editor versions differ in which converted widgets an instance still lists; the number of values tells.
    for is_listed in (_is_not_converted, _is_not_linked, _is_widget):
        positions_by_node = [
            _find_listed_positions(node, widgets, is_listed)
            for node, widgets in zip(nodes, widgets_by_node, strict=True)
        ]
        if sum(len(positions) for positions in positions_by_node) == len(values):
            return _distribute_values(values, nodes, positions_by_node)
    message = f"The values of the group node {host.class_type} do not match its definition, whose values are used."
    problems.append(WorkflowProblem("group-values-unmapped", message, path))
    return nodes


def _find_listed_positions(
    node: RawNode, widgets: NodeWidgets, is_listed: Callable[[RawNode, str | None], bool]
) -> list[int]:
    all_positions = range(len(widgets.by_position))
    return [position for position in all_positions if is_listed(node, get_item(widgets.names, position))]


def _is_not_converted(node: RawNode, name: str | None) -> bool:
    return name is None or all(slot.widget != name for slot in node.slots)


def _is_not_linked(node: RawNode, name: str | None) -> bool:
    return name is None or all(slot.widget != name or slot.link is None for slot in node.slots)


def _is_widget(_node: RawNode, _name: str | None) -> bool:
    return True


def _distribute_values(
    values: list[object], nodes: tuple[RawNode, ...], positions_by_node: list[list[int]]
) -> tuple[RawNode, ...]:
    """Give each inner node its part of the instance's values, in order."""
    remaining = iter(values)
    updated: list[RawNode] = []
    for node, positions in zip(nodes, positions_by_node, strict=True):
        instance_values = {position: next(remaining) for position in positions}
        updated.append(_replace_values(node, instance_values))
    return tuple(updated)


def _replace_values(node: RawNode, instance_values: Mapping[int, object]) -> RawNode:
    """Return a node with the values of the instance; a null leaves the value of the definition."""
    values = list(as_list(node.raw.get("widgets_values")))
    for position, value in instance_values.items():
        if value is not None:
            values[position] = value
    raw = {**node.raw, "widgets_values": values}
    # The names still belong to their positions, but the values under them are the definition's.
    named = as_mapping(raw.pop("widgets_values_named", None))
    if len(named) == len(values):
        raw["widgets_values_named"] = {name: values[position] for position, name in enumerate(named)}
    return RawNode(node.id, node.class_type, node.mode, node.slots, raw)
