"""From the editor's graphs to the nodes that a server would get."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.comfyui.loaders.table import LoaderTable
from comfywatchman.comfyui.workflow.document import DeclaredModel, WorkflowNode, WorkflowProblem
from comfywatchman.comfyui.workflow.graph import NOTES, VIRTUAL, RawNode, as_list, as_mapping, as_text, read_graph
from comfywatchman.comfyui.workflow.links import InputSource, LinkEnd, SourceNode, StoredValue, resolve_link
from comfywatchman.comfyui.workflow.scopes import GraphDefinitions, GraphScope, collect_definitions, strip_node_prefixes
from comfywatchman.comfyui.workflow.widgets import NodeWidgets, read_stored_widgets

MAX_NODES: Final = 50_000
"""Most nodes, hosts included, that a workflow may expand to; the largest real ones stay below 2,000."""

_SUBGRAPH_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


@dataclass(slots=True)
class FlattenedWorkflow:
    """What a flattened workflow holds.

    Attributes:
        nodes: Nodes that would be sent or skipped as inactive.
        declared: Models the author declared.
        notes: Text of notes.
        problems: What was wrong.
        visited: Nodes looked at, hosts and virtual ones included.
    """

    nodes: list[WorkflowNode] = field(default_factory=list)
    declared: list[DeclaredModel] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[WorkflowProblem] = field(default_factory=list)
    visited: int = 0


def flatten_workflow(raw: Mapping[str, object], table: LoaderTable) -> FlattenedWorkflow:
    """Flatten a workflow of the editor's format.

    Args:
        raw: The file's JSON object.
        table: Loader knowledge, for widget order in files without names.

    Raises:
        Failure: `workflow-too-deep` when subgraphs multiply to more nodes than any real workflow has.
    """
    known = collect_definitions(raw, table)
    flat = FlattenedWorkflow(problems=known.problems)
    flat.declared.extend(_parse_declared_models(raw.get("models"), None))
    _flatten_scope(GraphScope(read_graph(raw, known.problems)), known, flat)
    if as_mapping(raw.get("extra")).get("ue_links"):
        # The pack "Use Everywhere" feeds inputs without a link when the workflow is sent, and lists them here.
        flat.nodes = [replace(node, unfed=()) for node in flat.nodes]
    return flat


def _flatten_scope(scope: GraphScope, known: GraphDefinitions, flat: FlattenedWorkflow) -> None:
    flat.visited += len(scope.graph.nodes)
    if flat.visited > MAX_NODES:
        raise Failure("workflow-too-deep", f"The workflow's subgraphs multiply to more than {MAX_NODES} nodes.")
    for node in scope.graph.nodes:
        if node.class_type in NOTES:
            flat.notes.extend(_get_note_texts(node))
            continue
        models = node.properties.get("models")
        if models:
            flat.declared.extend(_parse_declared_models(models, scope.prefix + node.id))
        if node.class_type in VIRTUAL:
            continue
        if known.is_host(node):
            inside = known.enter_host(scope, node)
            if inside is not None:
                _flatten_scope(inside, known, flat)
            continue
        if _SUBGRAPH_ID.fullmatch(node.class_type):
            message = f"The file holds no definition of the subgraph {node.class_type}."
            flat.problems.append(WorkflowProblem("subgraph-missing", message, scope.prefix + node.id))
        flat.nodes.append(_build_node(scope, node, known))


def _build_node(scope: GraphScope, node: RawNode, known: GraphDefinitions) -> WorkflowNode:
    path = scope.prefix + node.id
    widgets = read_stored_widgets(node, known.table, path=path, problems=known.problems)
    for name, value in scope.overrides.get(node.id, {}).items():
        widgets.put(strip_node_prefixes(name), value)
    links = _follow_links(scope, node, widgets, known)
    get = node.properties.get
    title = node.raw.get("title")
    return WorkflowNode(
        path=path,
        class_type=node.class_type,
        active=scope.active and not node.is_switched_off,
        values=widgets.by_name,
        positional=tuple(widgets.by_place),
        linked=frozenset(links.linked),
        cnr_id=as_text(get("cnr_id")),
        aux_id=as_text(get("aux_id")),
        version=as_text(get("ver")),
        title=title if isinstance(title, str) and title != node.class_type else None,
        widget_names=widgets.names,
        sources=tuple(dict.fromkeys(links.sources)),
        unfed=tuple(links.unfed),
    )


@dataclass(slots=True)
class _LinkedInputs:
    """What the links of one node bring; see `Node`."""

    linked: set[str] = field(default_factory=set)
    sources: list[str] = field(default_factory=list)
    unfed: list[str] = field(default_factory=list)


def _follow_links(scope: GraphScope, node: RawNode, widgets: NodeWidgets, known: GraphDefinitions) -> _LinkedInputs:
    links = _LinkedInputs()
    for name, _, link, widget in node.slots:
        takes_links_only = widget is None and name not in widgets.by_name
        source: InputSource = LinkEnd.NOWHERE if link is None else resolve_link(scope, link, known)
        if isinstance(source, SourceNode):
            links.sources.append(source.path)
        if takes_links_only:
            links.linked.update(() if link is None else (name,))
            links.unfed.extend((name,) if source is LinkEnd.NOWHERE else ())
            continue
        if link is None:
            continue
        target = widget or name
        if isinstance(source, StoredValue):
            widgets.put(target, source.value)
        elif isinstance(source, SourceNode) or source is LinkEnd.NODE:
            links.linked.update((name, target))
            widgets.by_name.pop(target, None)
    return links


def _get_note_texts(node: RawNode) -> list[str]:
    values = node.raw.get("widgets_values")
    listed = list(values.values()) if isinstance(values, dict) else as_list(values)
    return [value for value in listed if isinstance(value, str) and value]


def _parse_declared_models(listed: object, path: str | None) -> list[DeclaredModel]:
    found = []
    for raw in as_list(listed):
        get = as_mapping(raw).get
        name = as_text(get("name"))
        if name is not None:
            hash_, kind = as_text(get("hash")), as_text(get("hash_type"))
            found.append(DeclaredModel(name, as_text(get("url")), as_text(get("directory")), hash_, kind, path))
    return found
