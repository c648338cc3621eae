"""Subgraph and group instances: the graph inside a host node, and the values that the host sets in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.json_values import as_list, as_mapping, as_text
from comfywatchman.comfyui.loaders.table import LoaderTable
from comfywatchman.comfyui.workflow.document import WidgetDefault, WorkflowProblem
from comfywatchman.comfyui.workflow.graph import Graph, InputSlot, LinkId, RawNode, read_graph
from comfywatchman.comfyui.workflow.groups import build_group_graph, find_group_definition
from comfywatchman.comfyui.workflow.promotion import (
    PromotedInput,
    ProxyWidget,
    find_host_problems,
    read_host_values,
)
from comfywatchman.comfyui.workflow.widgets import is_widget_slot, read_stored_widgets

ShownValue = tuple[object] | WidgetDefault | None
"""The value that a widget shows, in a tuple so that a null can be told from no value; None where it is not known."""

ROOT: Final = ""
"""The outermost graph, where others are named by the id of their definition."""

MAX_DEPTH: Final = 64
"""Deepest nesting of instances; real files stay below 6."""


@dataclass(frozen=True, slots=True)
class GraphScope:
    """A graph at its position in the flattened workflow.

    Attributes:
        graph: The graph.
        prefix: Path of the host with a final `:`; empty for the outermost graph.
        active: Whether the editor sends its nodes, as far as their own mode lets it; see `_is_sent`.
        outer: The scope of the host; None for the outermost graph.
        host: The host node; None for the outermost graph.
        kind: Name of the graph's definition, to detect a graph inside itself.
        promoted: Values that the host gives, by name of the graph's own input.
        depth: Number of hosts around it.
    """

    graph: Graph
    prefix: str = ""
    active: bool = True
    outer: GraphScope | None = None
    host: RawNode | None = None
    kind: str = ROOT
    promoted: Mapping[str, object] = field(default_factory=dict)
    depth: int = 0

    def iterate_outward(self) -> Iterator[GraphScope]:
        """Yield this scope and every scope around it, inside out."""
        scope: GraphScope | None = self
        while scope is not None:
            yield scope
            scope = scope.outer


@dataclass(slots=True)
class GraphDefinitions:
    """Definitions of subgraphs and groups in a file, and the defects found in it.

    Attributes:
        table: Gives the widget order of loader classes.
        subgraphs: Subgraph definitions by id.
        groups: Group node definitions by name.
        problems: Defects so far, in the order found.
        host_values: Values by name of the promoted input, by the graph of an instance and its id.
    """

    table: LoaderTable
    subgraphs: dict[str, Mapping[str, object]]
    groups: Mapping[str, object]
    problems: list[WorkflowProblem] = field(default_factory=list)
    host_values: dict[tuple[str, str], dict[str, object]] = field(default_factory=dict)
    _graphs: dict[str, Graph] = field(default_factory=dict)
    _promoted_inputs: dict[str, tuple[PromotedInput, ...]] = field(default_factory=dict)
    _inputs_by_name: dict[str, dict[str, PromotedInput]] = field(default_factory=dict)
    _first_links: dict[str, dict[str, LinkId]] = field(default_factory=dict)
    _inner_scopes: dict[tuple[str, str], GraphScope | None] = field(default_factory=dict)

    def is_host(self, node: RawNode) -> bool:
        """Return whether the node is an instance of a subgraph or group of this file."""
        if node.class_type in self.subgraphs:
            return True
        return bool(self.groups) and find_group_definition(node.class_type, self.groups) is not None

    def is_unopened_group(self, scope: GraphScope, host: RawNode) -> bool:
        """Return whether the editor sends a group node as it is: it opens only those outside of subgraphs.

        Frontend 1.58.1 converts the group nodes of the outermost graph when it loads a file, and no others.
        """
        if host.class_type in self.subgraphs or host.is_switched_off or not scope.active:
            return False
        return any(around.kind in self.subgraphs for around in scope.iterate_outward())

    def enter_host(self, scope: GraphScope, host: RawNode) -> GraphScope | None:
        """Return the scope inside a host node; None when the graph would contain itself.

        Raises:
            Failure: `workflow-too-deep`.
        """
        path = scope.prefix + host.id
        key = (path, host.class_type)
        # Links enter the same host again and again; its defects must be reported only once.
        if key not in self._inner_scopes:
            self._inner_scopes[key] = self._build_inner_scope(scope, host, path)
        return self._inner_scopes[key]

    def _build_inner_scope(self, scope: GraphScope, host: RawNode, path: str) -> GraphScope | None:
        if any(around.kind == host.class_type for around in scope.iterate_outward()):
            message = f"The subgraph {host.class_type} contains itself."
            self.problems.append(WorkflowProblem("subgraph-cycle", message, path))
            return None
        if scope.depth >= MAX_DEPTH:
            raise Failure("workflow-too-deep", f"The workflow nests subgraphs deeper than {MAX_DEPTH} levels.")
        graph = self._read_inner_graph(host, path)
        promoted: Mapping[str, object] = {}
        if host.class_type in self.subgraphs:
            promoted = self._find_host_values(scope, host)
            self.problems.extend(find_host_problems(host, self.list_promoted_inputs(host.class_type), path))
        return GraphScope(
            graph=graph,
            prefix=f"{path}:",
            active=self._is_sent(scope, host),
            outer=scope,
            host=host,
            kind=host.class_type,
            promoted=promoted,
            depth=scope.depth + 1,
        )

    def _is_sent(self, scope: GraphScope, host: RawNode) -> bool:
        """Return whether the editor sends the nodes inside a host.

        It does not where the outermost host is muted or bypassed. The mode of an instance inside another one only
        decides about the links through it (`graphToPrompt`, `SubgraphNode.getInnerNodes`).
        """
        is_inner_instance = scope.outer is not None and host.class_type in self.subgraphs
        return scope.active and (is_inner_instance or not host.is_switched_off)

    def _read_inner_graph(self, host: RawNode, path: str) -> Graph:
        if host.class_type not in self.subgraphs:
            # Every group instance has a graph of its own, because its values are part of the graph.
            group = find_group_definition(host.class_type, self.groups) or {}
            return build_group_graph(host, group, self.table, path=path, problems=self.problems)
        return self.read_subgraph(host.class_type)

    def read_subgraph(self, subgraph_id: str) -> Graph:
        """Return the graph of a subgraph."""
        if subgraph_id not in self._graphs:
            self._graphs[subgraph_id] = read_graph(self.subgraphs[subgraph_id], self.problems)
        return self._graphs[subgraph_id]

    def replace_subgraph(self, subgraph_id: str, graph: Graph) -> None:
        """Replace the graph of a subgraph by one with more own inputs."""
        self._graphs[subgraph_id] = graph

    def set_promoted_inputs(self, subgraph_id: str, inputs: Iterable[PromotedInput]) -> None:
        """Set the promoted inputs of a subgraph that has got more own inputs."""
        self._promoted_inputs[subgraph_id] = tuple(inputs)
        self._inputs_by_name.pop(subgraph_id, None)

    def _find_host_values(self, scope: GraphScope, host: RawNode) -> Mapping[str, object]:
        key = (scope.kind, host.id)
        if key in self.host_values:
            return self.host_values[key]
        # An instance in a group node, whose graph exists only while the file is flattened.
        return read_host_values(host, self.list_promoted_inputs(host.class_type))

    def list_promoted_inputs(self, class_type: str, depth: int = 0) -> tuple[PromotedInput, ...]:
        """Return the promoted inputs of a subgraph, in order; none for any other class.

        Args:
            class_type: The subgraph.
            depth: How deep it is inside the one first asked for; a workflow that nests deeper is not read at all.
        """
        if class_type not in self.subgraphs or depth > MAX_DEPTH:
            return ()
        if class_type not in self._promoted_inputs:
            # Subgraphs that contain each other in a circle find no promoted inputs in one another.
            self._promoted_inputs[class_type] = ()
            graph = self.read_subgraph(class_type)
            found: list[PromotedInput] = []
            for name, links in zip(graph.inputs, graph.input_links, strict=True):
                promoted_input = self.find_promoted_input(graph, name, links, depth)
                if promoted_input is not None:
                    found.append(promoted_input)
            self._promoted_inputs[class_type] = tuple(found)
        return self._promoted_inputs[class_type]

    def find_promoted_input(
        self, graph: Graph, name: str, links: Iterable[LinkId], depth: int = 0
    ) -> PromotedInput | None:
        """Return an own input as a promoted one; None if it feeds no widget.

        Args:
            graph: The subgraph's graph.
            name: Name of the own input.
            links: Its links.
            depth: As in `list_promoted_inputs`.
        """
        for link_id in links:
            target = graph.find_target(link_id)
            if target is None:
                continue
            node, slot = target
            widget = self.find_widget(node, slot, depth)
            if widget is not None:
                return PromotedInput(name, node.id, widget)
        return None

    def find_widget(self, node: RawNode, slot: InputSlot, depth: int = 0) -> str | None:
        """Return the name of the widget behind an input; None for an input that takes links only."""
        if node.class_type in self.subgraphs:
            inputs = self.list_promoted_inputs(node.class_type, depth + 1)
            return slot.name if any(inner.name == slot.name for inner in inputs) else None
        return (slot.widget or slot.name) if is_widget_slot(slot, node.class_type, self.table) else None

    def find_proxied_input(self, host: RawNode, proxy: ProxyWidget) -> str | None:
        """Return the promoted input of an instance that a proxy of the graph around it means."""
        for inner in self.list_promoted_inputs(host.class_type):
            if proxy.inner_id is not None:
                is_meant = (inner.node_id, inner.widget) == (proxy.inner_id, proxy.widget)
            else:
                is_meant = proxy.widget in (inner.name, inner.widget)
            if is_meant:
                return inner.name
        return None

    def read_shown_value(self, scope: GraphScope, name: str) -> ShownValue:
        """Return the value that a promoted input shows: of its host, else that of the widget inside.

        Args:
            scope: The scope inside the host.
            name: Name of the own input.
        """
        for _ in range(MAX_DEPTH):
            if name in scope.promoted:
                return (scope.promoted[name],)
            shown = self._find_promoted_input(scope, name)
            node = scope.graph.by_id.get(shown.node_id) if shown is not None else None
            if shown is None or node is None:
                return None
            if not self.is_host(node):
                return self._read_own_widget(node, shown.widget)
            inner = self.enter_host(scope, node)
            if inner is None:
                return None
            scope, name = inner, shown.widget
        return None

    def find_first_link(self, scope: GraphScope, node: RawNode) -> LinkId | None:
        """Return the link with the lowest id that leaves the first output of a node."""
        if scope.prefix not in self._first_links:
            self._first_links[scope.prefix] = scope.graph.find_first_links()
        return self._first_links[scope.prefix].get(node.id)

    def read_widget(self, scope: GraphScope, node: RawNode, widget: str) -> ShownValue:
        """Return the value that a widget of a node, or of an instance, shows."""
        if not self.is_host(node):
            return self._read_own_widget(node, widget)
        inner = self.enter_host(scope, node)
        return self.read_shown_value(inner, widget) if inner is not None else None

    def _read_own_widget(self, node: RawNode, widget: str) -> ShownValue:
        widgets = read_stored_widgets(node, self.table, path="", problems=[])
        if widget in widgets.by_name:
            return (widgets.by_name[widget],)
        return None if widgets.has_unnamed_value() else WidgetDefault.VALUE

    def is_promoted(self, scope: GraphScope, name: str) -> bool:
        """Return whether an own input of the graph in a scope is a promoted one."""
        return self._find_promoted_input(scope, name) is not None

    def _find_promoted_input(self, scope: GraphScope, name: str) -> PromotedInput | None:
        if scope.kind not in self._inputs_by_name:
            # Of several inputs with one name the first counts.
            inputs = reversed(self.list_promoted_inputs(scope.kind))
            self._inputs_by_name[scope.kind] = {promoted_input.name: promoted_input for promoted_input in inputs}
        return self._inputs_by_name[scope.kind].get(name)


def collect_definitions(raw: Mapping[str, object], table: LoaderTable) -> GraphDefinitions:
    """Collect the subgraph and group definitions of a workflow, nested ones included."""
    subgraphs: dict[str, Mapping[str, object]] = {}
    pending = [raw]
    while pending:
        definitions = as_mapping(pending.pop().get("definitions"))
        for entry in as_list(definitions.get("subgraphs")):
            definition = as_mapping(entry)
            subgraph_id = as_text(definition.get("id"))
            if subgraph_id is not None and subgraph_id not in subgraphs:
                subgraphs[subgraph_id] = definition
                pending.append(definition)
    groups = as_mapping(as_mapping(raw.get("extra")).get("groupNodes"))
    return GraphDefinitions(table, subgraphs, groups)
