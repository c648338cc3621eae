"""Subgraph and group instances: the graph inside a host node, and the values that the host sets in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.json_values import as_list, as_mapping, as_text
from comfywatchman.comfyui.loaders.table import LoaderTable
from comfywatchman.comfyui.workflow.document import WorkflowProblem
from comfywatchman.comfyui.workflow.graph import Graph, RawNode, as_id, read_graph
from comfywatchman.comfyui.workflow.groups import build_group_graph, find_group_definition

MAX_DEPTH: Final = 64
"""Deepest nesting of instances; real files stay below 6."""

_OWN_INPUT: Final = "-1"
_PROXY_FIELDS: Final = 2
_NESTED_NAME: Final = re.compile(r"(\d+): (.+)", re.DOTALL)

Overrides = dict[str, dict[str, object]]
"""Values by id of an inner node, then by widget name."""


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
        overrides: Values that the host sets directly on inner widgets.
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
        promoted, overrides = self._read_host_values(scope, host, graph)
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

    def _read_inner_graph(self, host: RawNode, path: str) -> Graph:
        definition = self.subgraphs.get(host.class_type)
        if definition is None:
            # Every group instance has a graph of its own, because its values are part of the graph.
            group = find_group_definition(host.class_type, self.groups) or {}
            return build_group_graph(host, group, self.table, path=path, problems=self.problems)
        if host.class_type not in self._graphs:
            self._graphs[host.class_type] = read_graph(definition, self.problems)
        return self._graphs[host.class_type]

    def _read_host_values(self, scope: GraphScope, host: RawNode, graph: Graph) -> tuple[dict[str, object], Overrides]:
        """Return the values that a host gives, those that an outer host sets on it included."""
        if host.class_type not in self.subgraphs:
            return {}, {}
        promoted, overrides = read_promoted_values(host, graph)
        for name, value in scope.overrides.get(host.id, {}).items():
            nested = _NESTED_NAME.fullmatch(name)
            if nested and name not in graph.inputs:
                overrides.setdefault(nested[1], {})[nested[2]] = value
            else:
                promoted[name] = value
        return promoted, overrides


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


def read_promoted_values(host: RawNode, graph: Graph) -> tuple[dict[str, object], Overrides]:
    """Return the values that a subgraph instance sets: by own input name, and directly on inner nodes.

    There are three notations, the newest first: names with values, `proxyWidgets` beside the value list, and the list
    alone in the order of the inputs that feed a widget. A null leaves the inner value.
    """
    values = host.raw.get("widgets_values")
    named = as_mapping(host.raw.get("widgets_values_named")) or as_mapping(values)
    if named:
        return _drop_nulls(named.items()), {}
    proxies = host.properties.get("proxyWidgets")
    if isinstance(proxies, list):
        return _read_proxy_values(proxies, as_list(values))
    return _drop_nulls(zip(graph.widget_inputs, as_list(values), strict=False)), {}


def _drop_nulls(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    return {name: value for name, value in pairs if value is not None}


def _read_proxy_values(proxies: list[object], values: list[object]) -> tuple[dict[str, object], Overrides]:
    """Assign values to `proxyWidgets`, which are `[inner node id, widget name]`."""
    promoted: dict[str, object] = {}
    overrides: Overrides = {}
    for proxy, value in zip(proxies, values, strict=False):
        if value is None or not isinstance(proxy, list) or len(proxy) < _PROXY_FIELDS:
            continue
        node_id, name = as_id(proxy[0]), proxy[1]
        if node_id is None or not isinstance(name, str):
            continue
        if node_id == _OWN_INPUT:
            promoted[name] = value
        else:
            overrides.setdefault(node_id, {})[name] = value
    return promoted, overrides


def strip_node_prefixes(name: str) -> str:
    """Return a widget name without the node prefixes (`12: ckpt_name`) of older files."""
    while nested := _NESTED_NAME.fullmatch(name):
        name = nested[2]
    return name
