"""Subgraph and group instances: the graph inside a host node, and the values that the host sets in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.json_values import as_list, as_mapping, as_text
from comfywatchman.comfyui.loaders.table import LoaderTable
from comfywatchman.comfyui.workflow.document import WorkflowProblem
from comfywatchman.comfyui.workflow.graph import Graph, InputSlot, RawNode, read_graph
from comfywatchman.comfyui.workflow.groups import build_group_graph, find_group_definition
from comfywatchman.comfyui.workflow.promotion import (
    HostValues,
    Overrides,
    PromotedInput,
    ProxyWidget,
    read_host_values,
)
from comfywatchman.comfyui.workflow.widgets import is_widget_slot, read_stored_widgets

MAX_DEPTH: Final = 64
"""Deepest nesting of instances; real files stay below 6."""


@dataclass(frozen=True, slots=True)
class GraphScope:
    """A graph at its position in the flattened workflow.

    Attributes:
        graph: The graph.
        prefix: Path of the host with a final `:`; empty for the outermost graph.
        active: False when a host around it is muted or bypassed.
        outer: The scope of the host; None for the outermost graph.
        host: The host node; None for the outermost graph.
        kind: Name of the graph's definition, to detect a graph inside itself.
        promoted: Values that the host gives, by name of the graph's own input.
        overrides: Values that the host sets on inner widgets that no own input feeds.
        depth: Number of hosts around it.
    """

    graph: Graph
    prefix: str = ""
    active: bool = True
    outer: GraphScope | None = None
    host: RawNode | None = None
    kind: str = ""
    promoted: Mapping[str, object] = field(default_factory=dict)
    overrides: Overrides = field(default_factory=dict)
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
    """

    table: LoaderTable
    subgraphs: dict[str, Mapping[str, object]]
    groups: Mapping[str, object]
    problems: list[WorkflowProblem] = field(default_factory=list)
    _graphs: dict[str, Graph] = field(default_factory=dict)
    _promoted_inputs: dict[str, tuple[PromotedInput, ...]] = field(default_factory=dict)
    _inner_scopes: dict[tuple[str, str], GraphScope | None] = field(default_factory=dict)

    def is_host(self, node: RawNode) -> bool:
        """Return whether the node is an instance of a subgraph or group of this file."""
        if node.class_type in self.subgraphs:
            return True
        return bool(self.groups) and find_group_definition(node.class_type, self.groups) is not None

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
        values = self._read_host_values(scope, host, graph, path)
        return GraphScope(
            graph=graph,
            prefix=f"{path}:",
            active=scope.active and not host.is_switched_off,
            outer=scope,
            host=host,
            kind=host.class_type,
            promoted=values.promoted,
            overrides=values.overrides,
            depth=scope.depth + 1,
        )

    def _read_inner_graph(self, host: RawNode, path: str) -> Graph:
        if host.class_type not in self.subgraphs:
            # Every group instance has a graph of its own, because its values are part of the graph.
            group = find_group_definition(host.class_type, self.groups) or {}
            return build_group_graph(host, group, self.table, path=path, problems=self.problems)
        return self._read_subgraph(host.class_type)

    def _read_subgraph(self, subgraph_id: str) -> Graph:
        if subgraph_id not in self._graphs:
            self._graphs[subgraph_id] = read_graph(self.subgraphs[subgraph_id], self.problems)
        return self._graphs[subgraph_id]

    def _read_host_values(self, scope: GraphScope, host: RawNode, graph: Graph, path: str) -> HostValues:
        """Return the values that a host gives, those that an outer host sets on it included."""
        if host.class_type not in self.subgraphs:
            return HostValues(())

        def find_widget(proxy: ProxyWidget) -> str:
            return self._find_proxied_widget(graph, proxy)

        inputs = self.list_promoted_inputs(host.class_type)
        values = read_host_values(host, inputs, find_widget, path=path, problems=self.problems)
        for name, value in scope.overrides.get(host.id, {}).items():
            values.set_own(name, value)
        return values

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
            self._promoted_inputs[class_type] = tuple(
                self._find_promoted_inputs(self._read_subgraph(class_type), depth)
            )
        return self._promoted_inputs[class_type]

    def _find_promoted_inputs(self, graph: Graph, depth: int) -> Iterator[PromotedInput]:
        for name, links in zip(graph.inputs, graph.input_links, strict=True):
            for link_id in links:
                target = graph.find_target(link_id)
                widget = self._find_widget(*target, depth) if target is not None else None
                if target is not None and widget is not None:
                    yield PromotedInput(name, target[0].id, widget)
                    break

    def _find_widget(self, node: RawNode, slot: InputSlot, depth: int) -> str | None:
        """Return the name of the widget behind an input; None for an input that takes links only."""
        if node.class_type in self.subgraphs:
            inputs = self.list_promoted_inputs(node.class_type, depth + 1)
            return slot.name if any(inner.name == slot.name for inner in inputs) else None
        return (slot.widget or slot.name) if is_widget_slot(slot, node.class_type, self.table) else None

    def _find_proxied_widget(self, graph: Graph, proxy: ProxyWidget) -> str:
        """Return the widget that a proxy means; for a widget of an inner instance, that instance's input."""
        node = graph.by_id.get(proxy.node_id)
        for inner in self.list_promoted_inputs(node.class_type) if node is not None else ():
            if proxy.inner_id is not None:
                is_meant = (inner.node_id, inner.widget) == (proxy.inner_id, proxy.widget)
            else:
                is_meant = proxy.widget in (inner.name, inner.widget)
            if is_meant:
                return inner.name
        return proxy.widget

    def read_shown_value(self, scope: GraphScope, name: str) -> tuple[object] | None:
        """Return the value that a promoted input shows while its host stores none: that of the widget inside.

        Args:
            scope: The scope inside the host.
            name: Name of the own input.

        Returns:
            The value in a tuple, so that a null can be told from no value; None if the widget has no stored value.
        """
        for _ in range(MAX_DEPTH):
            if name in scope.promoted:
                return (scope.promoted[name],)
            shown = self._find_promoted_input(scope, name)
            node = scope.graph.by_id.get(shown.node_id) if shown is not None else None
            if shown is None or node is None:
                return None
            if not self.is_host(node):
                widgets = read_stored_widgets(node, self.table, path="", problems=[])
                return (widgets.by_name[shown.widget],) if shown.widget in widgets.by_name else None
            inner = self.enter_host(scope, node)
            if inner is None:
                return None
            scope, name = inner, shown.widget
        return None

    def is_promoted(self, scope: GraphScope, name: str) -> bool:
        """Return whether an own input of the graph in a scope is a promoted one."""
        return self._find_promoted_input(scope, name) is not None

    def _find_promoted_input(self, scope: GraphScope, name: str) -> PromotedInput | None:
        for promoted_input in self.list_promoted_inputs(scope.kind):
            if promoted_input.name == name:
                return promoted_input
        return None


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
