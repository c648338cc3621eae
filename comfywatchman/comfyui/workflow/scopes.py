"""Subgraph and group instances: which graph stands inside a host node, and what the host sets in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.loaders.table import LoaderTable
from comfywatchman.comfyui.workflow.document import WorkflowProblem
from comfywatchman.comfyui.workflow.graph import Graph, RawNode, as_id, as_list, as_mapping, as_text, read_graph
from comfywatchman.comfyui.workflow.groups import build_group_graph, find_group_definition

MAX_DEPTH: Final = 64
"""Deepest nesting of instances that is followed; real files stay below 6."""

_OWN_INPUT: Final = "-1"
_NESTED_NAME: Final = re.compile(r"(\d+): (.+)", re.DOTALL)

Overrides = dict[str, dict[str, object]]


@dataclass(frozen=True, slots=True)
class GraphScope:
    """A graph at its place in the flattened workflow.

    Attributes:
        graph: The graph.
        prefix: Path of the host with a final `:`; empty for the outermost graph.
        active: False when a host around it is muted or bypassed.
        outer: The scope that the host stands in, None for the outermost graph.
        host: The host node, None for the outermost graph.
        kind: What names the graph's definition, to notice a graph inside itself.
        promoted: Value that the host gives, by name of the graph's own input.
        overrides: Values that the host gives straight to an inner node's widgets: by node id, then widget name.
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
        """Give this scope and every scope around it, inside out."""
        scope: GraphScope | None = self
        while scope is not None:
            yield scope
            scope = scope.outer


@dataclass(slots=True)
class GraphDefinitions:
    """What a file defines once and uses by name, and what is wrong with it.

    Attributes:
        table: Loader knowledge, for widget order.
        subgraphs: Subgraph definitions by id.
        groups: Group node definitions by name.
        problems: What was wrong so far, in the order found.
    """

    table: LoaderTable
    subgraphs: dict[str, Mapping[str, object]]
    groups: Mapping[str, object]
    problems: list[WorkflowProblem] = field(default_factory=list)
    _graphs: dict[str, Graph] = field(default_factory=dict)
    _inside: dict[tuple[str, str], GraphScope | None] = field(default_factory=dict)

    def is_host(self, node: RawNode) -> bool:
        """Say whether the node is an instance of a subgraph or group of this file."""
        if node.class_type in self.subgraphs:
            return True
        return bool(self.groups) and find_group_definition(node.class_type, self.groups) is not None

    def enter_host(self, scope: GraphScope, host: RawNode) -> GraphScope | None:
        """Give the scope inside a host node; None when the graph would stand inside itself.

        Raises:
            Failure: `workflow-too-deep`.
        """
        path = scope.prefix + host.id
        key_ = (path, host.class_type)
        if key_ not in self._inside:
            self._inside[key_] = self._entered(scope, host, path)
        return self._inside[key_]

    def _entered(self, scope: GraphScope, host: RawNode, path: str) -> GraphScope | None:
        if any(around.kind == host.class_type for around in scope.iterate_outward()):
            self.problems.append(
                WorkflowProblem("subgraph-cycle", f"The subgraph {host.class_type} contains itself.", path)
            )
            return None
        if scope.depth >= MAX_DEPTH:
            raise Failure("workflow-too-deep", f"The workflow nests subgraphs deeper than {MAX_DEPTH} levels.")
        graph = self._graph(host, path)
        promoted, overrides = self._given(scope, host, graph)
        return GraphScope(
            graph=graph,
            prefix=f"{path}:",
            active=scope.active and not host.is_switched_off,
            outer=scope,
            host=host,
            kind=host.class_type,
            promoted=promoted,
            overrides=overrides,
            depth=scope.depth + 1,
        )

    def _graph(self, host: RawNode, path: str) -> Graph:
        definition = self.subgraphs.get(host.class_type)
        if definition is None:
            group = find_group_definition(host.class_type, self.groups) or {}
            return build_group_graph(host, group, self.table, path=path, problems=self.problems)
        graph = self._graphs.get(host.class_type)
        if graph is None:
            graph = self._graphs[host.class_type] = read_graph(definition, self.problems)
        return graph

    def _given(self, scope: GraphScope, host: RawNode, graph: Graph) -> tuple[dict[str, object], Overrides]:
        if host.class_type not in self.subgraphs:
            return {}, {}
        promoted, overrides = read_promoted_values(host, graph)
        for name, value in scope.overrides.get(host.id, {}).items():
            nested = _NESTED_NAME.fullmatch(name)
            if name not in graph.inputs and nested:
                overrides.setdefault(nested[1], {})[nested[2]] = value
            else:
                promoted[name] = value
        return promoted, overrides


def collect_definitions(raw: Mapping[str, object], table: LoaderTable) -> GraphDefinitions:
    """Gather the subgraph and group definitions of a workflow, nested ones included."""
    subgraphs: dict[str, Mapping[str, object]] = {}
    pending = [raw]
    while pending:
        for one in as_list(as_mapping(pending.pop().get("definitions")).get("subgraphs")):
            definition = as_mapping(one)
            identity = as_text(definition.get("id"))
            if identity is not None and identity not in subgraphs:
                subgraphs[identity] = definition
                pending.append(definition)
    return GraphDefinitions(table, subgraphs, as_mapping(as_mapping(raw.get("extra")).get("groupNodes")))


def read_promoted_values(host: RawNode, graph: Graph) -> tuple[dict[str, object], Overrides]:
    """Give the values that a subgraph instance sets: by own input name, and straight on inner nodes.

    Three notations, the newest first: names with values, `proxyWidgets` beside the value list, and the list alone
    in the order of the inputs that feed a widget. A null means that the inner value stands.
    """
    values = host.raw.get("widgets_values")
    named = as_mapping(host.raw.get("widgets_values_named")) or as_mapping(values)
    if named:
        return {name: value for name, value in named.items() if value is not None}, {}
    proxies = host.properties.get("proxyWidgets")
    if isinstance(proxies, list):
        return _read_proxy_values(proxies, as_list(values))
    places = zip(graph.widget_inputs, as_list(values), strict=False)
    return {name: value for name, value in places if value is not None}, {}


def _read_proxy_values(proxies: list[object], values: list[object]) -> tuple[dict[str, object], Overrides]:
    promoted: dict[str, object] = {}
    overrides: Overrides = {}
    for proxy, value in zip(proxies, values, strict=False):
        node_id, name = (proxy[0], proxy[1]) if isinstance(proxy, list) and len(proxy) > 1 else (None, None)
        inner = as_id(node_id)
        if value is None or inner is None or not isinstance(name, str):
            continue
        if inner == _OWN_INPUT:
            promoted[name] = value
        else:
            overrides.setdefault(inner, {})[name] = value
    return promoted, overrides


def strip_node_prefixes(name: str) -> str:
    """Give the widget name without the prefixes (`12: ckpt_name`) that older files carry."""
    while nested := _NESTED_NAME.fullmatch(name):
        name = nested[2]
    return name
