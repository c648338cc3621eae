"""Convert `properties.proxyWidgets`, the older notation of promoted widgets, as the editor does when it loads a file.

Each entry of an instance names a widget inside. Where no own input of the subgraph shows that widget, the editor adds
one to the subgraph and links it to the widget, in place of the link that fed it. So the conversion of one instance
changes all instances of the subgraph. It is that of `flushProxyWidgetMigration` (frontend 1.58.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from comfywatchman.base.json_values import as_list, as_text
from comfywatchman.comfyui.workflow.bypass import get_output_type
from comfywatchman.comfyui.workflow.graph import PRIMITIVE, Graph, RawNode
from comfywatchman.comfyui.workflow.promotion import OWN_INPUT, ProxyWidget, parse_proxy_widgets, read_host_values
from comfywatchman.comfyui.workflow.scopes import ROOT, GraphDefinitions
from comfywatchman.comfyui.workflow.subgraph_draft import InputTarget, SubgraphDraft
from comfywatchman.comfyui.workflow.widgets import CONTROL, is_widget_slot

_PREVIEW_PREFIX = "$$"
_BYPASS_MARK = "proxyBypassedToSubgraphInput"


class _Entry(NamedTuple):
    """An entry of `proxyWidgets` with the value at its index, in a tuple; None if the instance stores none there."""

    proxy: ProxyWidget
    value: tuple[object] | None


def load_host_values(root: Graph, known: GraphDefinitions) -> None:
    """Read the values of all instances, and add the own inputs that their `proxyWidgets` need.

    Args:
        root: The outermost graph.
        known: Definitions of the file; they get the values, and the changed subgraphs.
    """
    loader = _Loader(known)
    for subgraph_id in _sort_subgraphs(_find_contained_subgraphs(root, known), known):
        loader.load_graph(subgraph_id, known.read_subgraph(subgraph_id))
    loader.load_graph(ROOT, root)


def _find_contained_subgraphs(root: Graph, known: GraphDefinitions) -> dict[str, set[str]]:
    """Return the subgraphs that each subgraph contains directly."""
    contained: dict[str, set[str]] = {}
    pending = list(_list_contained(root, known))
    while pending:
        subgraph_id = pending.pop()
        if subgraph_id not in contained:
            contained[subgraph_id] = set(_list_contained(known.read_subgraph(subgraph_id), known))
            pending.extend(contained[subgraph_id])
    # The editor loads definitions without instances too, and their proxies change others; their defects do no harm.
    count = len(known.problems)
    for subgraph_id in known.subgraphs:
        if subgraph_id not in contained:
            contained[subgraph_id] = set(_list_contained(known.read_subgraph(subgraph_id), known))
    del known.problems[count:]
    return contained


def _sort_subgraphs(contained: dict[str, set[str]], known: GraphDefinitions) -> list[str]:
    """Return all subgraphs, each after those that it contains; in file order if there is a circle."""
    containers: dict[str, list[str]] = {subgraph_id: [] for subgraph_id in known.subgraphs}
    for subgraph_id in known.subgraphs:
        for inner_id in contained[subgraph_id]:
            containers[inner_id].append(subgraph_id)
    open_counts = {subgraph_id: len(inner_ids) for subgraph_id, inner_ids in contained.items()}
    ordered = [subgraph_id for subgraph_id in known.subgraphs if not open_counts[subgraph_id]]
    for subgraph_id in ordered:
        for container in containers[subgraph_id]:
            open_counts[container] -= 1
            if not open_counts[container]:
                # The loop above also visits the subgraphs that are appended here.
                ordered.append(container)
    return ordered if len(ordered) == len(known.subgraphs) else list(known.subgraphs)


def _list_contained(graph: Graph, known: GraphDefinitions) -> Iterator[str]:
    for node in graph.nodes:
        if node.class_type in known.subgraphs:
            yield node.class_type


@dataclass(slots=True)
class _Loader:
    """Loads the graphs of a file one after another.

    Attributes:
        known: Definitions of the file.
        drafts: The subgraphs that proxies concern, by id.
        bypassed: The own input that took the place of a PrimitiveNode, by subgraph and node.
    """

    known: GraphDefinitions
    drafts: dict[str, SubgraphDraft] = field(default_factory=dict)
    bypassed: dict[tuple[str, str], str] = field(default_factory=dict)

    def load_graph(self, graph_id: str, graph: Graph) -> None:
        """Read the values of the instances in a graph, then convert their proxies."""
        hosts = [node for node in graph.nodes if node.class_type in self.known.subgraphs]
        for host in hosts:
            inputs = self.known.list_promoted_inputs(host.class_type)
            self.known.host_values[graph_id, host.id] = read_host_values(host, inputs)
        changed: dict[str, SubgraphDraft] = {}
        for host in hosts:
            proxies = parse_proxy_widgets(host.properties.get("proxyWidgets"))
            if proxies:
                draft = self._convert(host, proxies, self.known.host_values[graph_id, host.id])
                changed[draft.subgraph_id] = draft
        for draft in changed.values():
            self.known.replace_subgraph(draft.subgraph_id, draft.build_graph())

    def _convert(self, host: RawNode, proxies: list[ProxyWidget], values: dict[str, object]) -> SubgraphDraft:
        """Convert the proxies of one instance.

        Args:
            host: The instance.
            proxies: Its proxies.
            values: Its values by name of the own input; those of the proxies are set here.
        """
        if host.class_type not in self.drafts:
            self.drafts[host.class_type] = SubgraphDraft.open(self.known, host.class_type)
        draft = self.drafts[host.class_type]
        entries = list(_pair_with_values(proxies, as_list(host.raw.get("widgets_values"))))
        # All entries are looked up before the first one changes the subgraph.
        own_names = [self._find_own_input(draft, entry.proxy) for entry in entries]
        primitives: dict[str, list[_Entry]] = {}
        count = len(draft.input_names)
        for entry, own_name in zip(entries, own_names, strict=True):
            node = draft.nodes.get(entry.proxy.node_id)
            name = own_name
            if name is None and node is not None and node.class_type == PRIMITIVE:
                primitives.setdefault(node.id, []).append(entry)
            elif name is None and node is not None:
                name = self._add_widget_input(draft, node, entry.proxy)
            _set_value(values, name, entry)
        for node_id, cohort in primitives.items():
            name = self._replace_primitive(draft, draft.nodes[node_id], cohort)
            given = next((entry for entry in cohort if entry.value is not None), cohort[0])
            _set_value(values, name, given)
        if len(draft.input_names) > count:
            self.known.set_promoted_inputs(draft.subgraph_id, draft.promoted.values())
        self._set_own_inputs(host, entries, values)
        return draft

    def _find_own_input(self, draft: SubgraphDraft, proxy: ProxyWidget) -> str | None:
        """Return the own input that shows a widget already, or has taken the place of a PrimitiveNode."""
        name = draft.find_own_input(proxy.node_id, proxy.widget)
        node = draft.nodes.get(proxy.node_id)
        if name is not None or node is None or node.class_type != PRIMITIVE:
            return name
        mark = self.bypassed.get((draft.subgraph_id, node.id)) or as_text(node.properties.get(_BYPASS_MARK))
        return mark if mark is not None and draft.has_input(mark) else None

    def _add_widget_input(self, draft: SubgraphDraft, node: RawNode, proxy: ProxyWidget) -> str | None:
        """Add an own input for a widget and return its name; None if the node has no such widget."""
        if node.class_type in self.known.subgraphs:
            slot_name = self.known.find_proxied_input(node, proxy)
        else:
            slot_name = self._find_widget(draft, node, proxy.widget)
        if slot_name is None:
            return None
        position = draft.find_position(node, slot_name)
        if position is None:
            position = draft.add_slot(node, slot_name)
        return draft.add_input(proxy.widget, [InputTarget(node.id, position)])

    def _find_widget(self, draft: SubgraphDraft, node: RawNode, name: str) -> str | None:
        """Return the name of the input of a widget; None for previews and controls, and inputs that take links only."""
        if name.startswith(_PREVIEW_PREFIX) or name == CONTROL:
            return None
        position = draft.find_position(node, name)
        if position is None:
            # Older files list only the inputs whose widget was converted.
            return name
        slot = draft.get_slot(InputTarget(node.id, position))
        return name if is_widget_slot(slot, node.class_type, self.known.table) else None

    def _replace_primitive(self, draft: SubgraphDraft, node: RawNode, cohort: list[_Entry]) -> str | None:
        """Let an own input feed the widgets of a PrimitiveNode, and return its name; None where the editor does not."""
        widget = cohort[0].proxy.widget
        data_type = get_output_type(node, 0) or "*"
        targets = draft.list_primitive_targets(node, data_type)
        if targets is None or any(entry.proxy.widget != widget for entry in cohort):
            return None
        title = as_text(node.raw.get("title")) or "Primitive"
        name = draft.add_input(widget if title == PRIMITIVE else title, targets)
        self.bypassed[draft.subgraph_id, node.id] = name
        return name

    def _set_own_inputs(self, host: RawNode, entries: Iterable[_Entry], values: dict[str, object]) -> None:
        """Set the values of entries that name an own input of the subgraph itself."""
        promoted = {promoted.name for promoted in self.known.list_promoted_inputs(host.class_type)}
        for entry in entries:
            if entry.proxy.node_id == OWN_INPUT and entry.proxy.widget in promoted:
                _set_value(values, entry.proxy.widget, entry)


def _pair_with_values(proxies: list[ProxyWidget], stored: list[object]) -> Iterator[_Entry]:
    for index, proxy in enumerate(proxies):
        value: tuple[object] | None = None
        if index < len(stored):
            value = (stored[index],)
        yield _Entry(proxy, value)


def _set_value(values: dict[str, object], name: str | None, entry: _Entry) -> None:
    if name is not None and entry.value is not None:
        values[name] = entry.value[0]
