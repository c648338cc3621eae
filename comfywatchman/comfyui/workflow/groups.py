"""Group nodes, the editor's older kind of subgraph: the graph inside an instance, with the instance's values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from comfywatchman.base.json_values import as_list, as_mapping
from comfywatchman.comfyui.loaders.table import LoaderTable
from comfywatchman.comfyui.workflow.document import WorkflowProblem
from comfywatchman.comfyui.workflow.graph import (
    PRIMITIVE,
    SUBGRAPH_INPUT,
    VIRTUAL,
    Graph,
    GraphLink,
    InputSlot,
    LinkId,
    RawNode,
    as_id,
    read_graph,
)
from comfywatchman.comfyui.workflow.widgets import (
    CONTROL,
    build_disagreement_problem,
    has_conflict,
    read_stored_widgets,
)

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
    nodes = _apply_instance_values(host, nodes, links, table, path=path, problems=problems)
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
    links: Mapping[LinkId, GraphLink],
    table: LoaderTable,
    *,
    path: str,
    problems: list[WorkflowProblem],
) -> tuple[RawNode, ...]:
    """Return the inner nodes with the values of the instance, in the order in which the editor lists their widgets.

    The values of the definition count only for widgets that an inner link feeds. A widget for which the instance has
    no value gets the default of its class.
    """
    values = as_list(host.raw.get("widgets_values"))
    listed = _list_instance_widgets(nodes, links, table)
    named = as_mapping(host.raw.get("widgets_values_named"))
    if named and has_conflict([widget.name for widget in listed], values, named):
        problems.append(build_disagreement_problem("group node", path))
    # Editors before 2025 did not list converted widgets.
    converted_count = sum(widget.is_converted for widget in listed)
    if len(values) not in (len(listed), len(listed) - converted_count):
        problems.append(_build_unmapped_problem(host, path))

    values_by_node: list[dict[int, object]] = [{} for _ in nodes]
    for widget, value in zip(listed, values, strict=False):
        values_by_node[widget.node_index][widget.position] = value
    listed_by_node: list[set[int]] = [set() for _ in nodes]
    for widget in listed:
        listed_by_node[widget.node_index].add(widget.position)
    return tuple(
        _replace_values(node, table, listed_by_node[index], values_by_node[index]) for index, node in enumerate(nodes)
    )


def _build_unmapped_problem(host: RawNode, path: str) -> WorkflowProblem:
    message = (
        f"The group node {host.class_type} has another number of widget values than its definition has widgets: the "
        "editor assigns them in order, and defaults to the rest."
    )
    return WorkflowProblem("group-values-unmapped", message, path)


class _InstanceWidget(NamedTuple):
    """A widget that an instance shows: of which inner node, at which of its positions, and under which name."""

    node_index: int
    position: int
    name: str | None
    is_converted: bool


def _list_instance_widgets(
    nodes: tuple[RawNode, ...], links: Mapping[LinkId, GraphLink], table: LoaderTable
) -> list[_InstanceWidget]:
    """Return the widgets of an instance in the editor's order: those that were converted to inputs come last.

    Converted widgets that an inner link feeds are left out.
    """
    fed = {(link.target, link.target_slot) for link in links.values() if link.origin != SUBGRAPH_INPUT}
    origins = {link.origin for link in links.values()}
    listed: list[_InstanceWidget] = []
    for index, node in enumerate(nodes):
        if node.class_type == PRIMITIVE and node.id not in origins:
            continue
        if node.class_type in VIRTUAL - {PRIMITIVE}:
            continue
        slot_numbers = {slot.widget: number for number, slot in enumerate(node.slots) if slot.widget is not None}
        number: int | None = None
        for position, name in enumerate(_list_widget_names(node, table)):
            # The widget "control after generate" goes with the seed in front of it.
            if name != CONTROL:
                number = slot_numbers.get(name) if name is not None else None
            if number is None or (node.id, number) not in fed:
                listed.append(_InstanceWidget(index, position, name, number is not None))
    return sorted(listed, key=lambda widget: widget.is_converted)


def _list_widget_names(node: RawNode, table: LoaderTable) -> list[str | None]:
    """Return the names of an inner node's widgets, None where unknown."""
    widgets = read_stored_widgets(node, table, path="", problems=[])
    names: list[str | None] = list(widgets.names or table.widget_names(node.class_type))
    count = max(len(names), len(widgets.by_position))
    if table.has_all_widget_names(node.class_type):
        names = list(table.widget_names(node.class_type))
        count = len(names)
    return names + [None] * (count - len(names))


def _replace_values(
    node: RawNode, table: LoaderTable, listed: set[int], instance_values: Mapping[int, object]
) -> RawNode:
    """Return an inner node with the values of the instance.

    Args:
        node: The node.
        table: Gives the widget order of loader classes.
        listed: Positions of the widgets that the instance shows.
        instance_values: Value by position; a widget that is shown without a value gets the default of its class.
    """
    names = _list_widget_names(node, table)
    stored = read_stored_widgets(node, table, path="", problems=[]).by_position
    values: dict[int, object] = dict(enumerate(stored[: len(names)]))
    for position in listed:
        values.pop(position, None)
    values |= instance_values
    raw = {key: value for key, value in node.raw.items() if key != "widgets_values_named"}
    if list(values) == sorted(values) and len(values) == len(names):
        raw["widgets_values"] = list(values.values())
        if None not in names:
            raw["widgets_values_named"] = dict(zip(names, values.values(), strict=True))
    else:
        # A list cannot leave a value out.
        raw["widgets_values"] = {name: values[i] for i, name in enumerate(names) if name is not None and i in values}
    return RawNode(node.id, node.class_type, node.mode, node.slots, raw)
