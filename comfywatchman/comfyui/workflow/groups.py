"""Group nodes, the editor's older way to fold nodes together, read as a graph with the instance's values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

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
    as_list,
    as_mapping,
    read_graph,
)
from comfywatchman.comfyui.workflow.widgets import read_stored_widgets

_PREFIXES: Final = ("workflow>", "workflow/")


def find_group_definition(class_type: str, groups: Mapping[str, object]) -> Mapping[str, object] | None:
    """Find the definition of a group instance's class; None for every other class."""
    name = class_type[len(_PREFIXES[0]) :] if class_type.startswith(_PREFIXES) else class_type
    for wanted in (name, class_type):
        definition = groups.get(wanted)
        if isinstance(definition, dict) and isinstance(definition.get("nodes"), list):
            return definition
    return None


def build_group_graph(
    host: RawNode, definition: Mapping[str, object], table: LoaderTable, *, path: str, problems: list[WorkflowProblem]
) -> Graph:
    """Read the graph inside one group instance, the instance's own widget values in place of the definition's.

    The definition's values are the ones of the day when the group was made. An instance lists the widgets of all
    inner nodes in order, less those that were turned into inputs.

    Args:
        host: The instance.
        definition: What `extra.groupNodes` says of its class.
        table: Knows the widget order of loader classes.
        path: Path of the instance, for problems.
        problems: Takes what was wrong.
    """
    inner = read_graph({"nodes": _assign_node_ids(definition)}, problems)
    links = _parse_inner_links(definition)
    fed = {(link.target, link.target_slot): identity for identity, link in links.items()}
    nodes = _connect_inputs(inner.nodes, fed, host, links)
    nodes = _apply_instance_values(host, nodes, table, path=path, problems=problems)
    names = tuple(slot.name for slot in host.slots)
    return Graph(nodes, {node.id: node for node in nodes}, links, names, setters=inner.setters)


def _assign_node_ids(definition: Mapping[str, object]) -> list[object]:
    nodes = as_list(definition.get("nodes"))
    return [
        {**node, "id": node["index"] if isinstance(node.get("index"), int) else place}
        if isinstance(node, dict)
        else node
        for place, node in enumerate(nodes)
    ]


def _parse_inner_links(definition: Mapping[str, object]) -> dict[LinkId, GraphLink]:
    links: dict[LinkId, GraphLink] = {}
    for place, raw in enumerate(as_list(definition.get("links"))):
        fields = raw[:4] if isinstance(raw, list) else []
        if len(fields) < 4:  # noqa: PLR2004 - origin, slot, target, slot
            continue
        origin, target = as_id(fields[0]), as_id(fields[2])
        from_slot, to_slot = fields[1], fields[3]
        if origin and target and isinstance(from_slot, int) and isinstance(to_slot, int):
            links[f"inner-{place}"] = GraphLink(origin, from_slot, target, to_slot)
    return links


def _connect_inputs(
    nodes: tuple[RawNode, ...], fed: Mapping[tuple[str, int], LinkId], host: RawNode, links: dict[LinkId, GraphLink]
) -> tuple[RawNode, ...]:
    # Link ids inside the definition are those of the graph it was made from; they mean nothing here.
    unused = [(place, slot) for place, slot in enumerate(host.slots) if slot.link is not None]
    linked = []
    for node in nodes:
        slots = []
        for place, slot in enumerate(node.slots):
            link = fed.get((node.id, place))
            if link is None and slot.widget is not None:
                link = _link_from_host(node, place, slot, unused, links)
            slots.append(slot._replace(link=link))
        linked.append(RawNode(node.id, node.class_type, node.mode, tuple(slots), node.raw))
    return tuple(linked)


def _link_from_host(
    node: RawNode, place: int, slot: InputSlot, unused: list[tuple[int, InputSlot]], links: dict[LinkId, GraphLink]
) -> LinkId | None:
    for entry in unused:
        outer_place, outer = entry
        if outer.name == slot.name or outer.name.endswith(f" {slot.name}"):
            unused.remove(entry)
            identity = f"outer-{outer_place}"
            links[identity] = GraphLink(SUBGRAPH_INPUT, outer_place, node.id, place)
            return identity
    return None


def _apply_instance_values(
    host: RawNode, nodes: tuple[RawNode, ...], table: LoaderTable, *, path: str, problems: list[WorkflowProblem]
) -> tuple[RawNode, ...]:
    values = as_list(host.raw.get("widgets_values"))
    if not values:
        return nodes
    stored = [read_stored_widgets(node, table, path=path, problems=[]) for node in nodes]
    for keeps in (_keeps_unconverted, _keeps_unlinked, _keeps_all):
        kept = [
            [place for place in range(len(widgets.by_place)) if keeps(node, _get_name(widgets.names, place))]
            for node, widgets in zip(nodes, stored, strict=True)
        ]
        if sum(map(len, kept)) == len(values):
            supply = iter(values)
            return tuple(
                _replace_values(node, widgets.names, {place: next(supply) for place in places})
                for node, widgets, places in zip(nodes, stored, kept, strict=True)
            )
    message = f"The values of the group node {host.class_type} do not fit its definition, whose own values are used."
    problems.append(WorkflowProblem("group-values-unmapped", message, path))
    return nodes


def _get_name(names: tuple[str | None, ...], place: int) -> str | None:
    return names[place] if place < len(names) else None


def _keeps_unconverted(node: RawNode, name: str | None) -> bool:
    return name is None or all(slot.widget != name for slot in node.slots)


def _keeps_unlinked(node: RawNode, name: str | None) -> bool:
    return name is None or all(slot.widget != name or slot.link is None for slot in node.slots)


def _keeps_all(_node: RawNode, _name: str | None) -> bool:
    return True


def _replace_values(node: RawNode, names: tuple[str | None, ...], given: Mapping[int, object]) -> RawNode:
    stored = as_list(node.raw.get("widgets_values"))
    values = [given.get(place, value) if given.get(place) is not None else value for place, value in enumerate(stored)]
    raw = {**node.raw, "widgets_values": values}
    named = as_mapping(raw.pop("widgets_values_named", None))
    if len(named) == len(values):
        raw["widgets_values_named"] = dict(zip(names, values, strict=False))
    return RawNode(node.id, node.class_type, node.mode, node.slots, raw)
