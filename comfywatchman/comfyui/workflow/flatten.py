"""Flatten the editor's graphs, with subgraphs, group nodes, muted and bypassed nodes, into the server's nodes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from comfywatchman.base.json_values import as_list, as_mapping, as_text
from comfywatchman.comfyui.loaders.table import LoaderTable
from comfywatchman.comfyui.workflow.budget import MAX_NODES, ReadingBudget
from comfywatchman.comfyui.workflow.document import DeclaredModel, LinkSource, WorkflowNode, WorkflowProblem
from comfywatchman.comfyui.workflow.graph import NOTES, VIRTUAL, InputSlot, RawNode, read_graph
from comfywatchman.comfyui.workflow.links import InputSource, LinkEnd, SourceNode, StoredValue, resolve_link
from comfywatchman.comfyui.workflow.proxy_widgets import load_host_values
from comfywatchman.comfyui.workflow.scopes import GraphDefinitions, GraphScope, collect_definitions
from comfywatchman.comfyui.workflow.widgets import NodeWidgets, is_widget_slot, read_stored_widgets

_SUBGRAPH_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


@dataclass(slots=True)
class FlattenedWorkflow:
    """The content of a flattened workflow.

    Attributes:
        nodes: Nodes that would be sent or skipped as inactive.
        declared: Models that the author declared.
        notes: Text of notes.
        problems: Defects.
        visited: Number of nodes visited, hosts and virtual ones included.
    """

    nodes: list[WorkflowNode] = field(default_factory=list)
    declared: list[DeclaredModel] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[WorkflowProblem] = field(default_factory=list)
    visited: int = 0


def flatten_workflow(
    raw: Mapping[str, object], table: LoaderTable, budget: ReadingBudget | None = None
) -> FlattenedWorkflow:
    """Flatten a workflow of the editor's format.

    Args:
        raw: The file's JSON object.
        table: Gives the widget order in files without names.
        budget: How many nodes it may expand to; a new one when None.

    Raises:
        Failure: `workflow-too-large` when it expands to more nodes than any real workflow has.
    """
    budget = budget or ReadingBudget()
    # Each entry that is not a node adds a problem.
    if len(as_list(raw.get("nodes"))) > MAX_NODES:
        budget.take_nodes(MAX_NODES + 1)
    known = collect_definitions(raw, table)
    flat = FlattenedWorkflow(problems=known.problems)
    flat.declared.extend(_parse_declared_models(raw.get("models"), None))
    root = read_graph(raw, known.problems)
    load_host_values(root, known)
    _flatten_scope(GraphScope(root), known, flat, budget)
    if as_mapping(raw.get("extra")).get("ue_links"):
        # The pack "Use Everywhere" feeds inputs without a link when the workflow is sent, and lists them here.
        flat.nodes = [replace(node, unfed=()) for node in flat.nodes]
    return flat


def _flatten_scope(scope: GraphScope, known: GraphDefinitions, flat: FlattenedWorkflow, budget: ReadingBudget) -> None:
    flat.visited += len(scope.graph.nodes)
    budget.take_nodes(len(scope.graph.nodes))
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
            if known.is_unopened_group(scope, node):
                flat.problems.append(_build_unopened_problem(node, scope.prefix + node.id))
            inner = known.enter_host(scope, node)
            if inner is not None:
                _flatten_scope(inner, known, flat, budget)
            continue
        if _SUBGRAPH_ID.fullmatch(node.class_type):
            message = f"The file has no definition of the subgraph {node.class_type}."
            flat.problems.append(WorkflowProblem("subgraph-missing", message, scope.prefix + node.id))
        flat.nodes.append(_build_node(scope, node, known))


def _build_node(scope: GraphScope, node: RawNode, known: GraphDefinitions) -> WorkflowNode:
    path = scope.prefix + node.id
    widgets = read_stored_widgets(node, known.table, path=path, problems=known.problems)
    inputs = _follow_links(scope, node, widgets, known)
    title = node.raw.get("title")
    return WorkflowNode(
        path=path,
        class_type=node.class_type,
        active=scope.active and not node.is_switched_off,
        values=widgets.by_name,
        positional=tuple(widgets.by_position),
        linked=frozenset(inputs.linked),
        cnr_id=as_text(node.properties.get("cnr_id")),
        aux_id=as_text(node.properties.get("aux_id")),
        version=as_text(node.properties.get("ver")),
        title=title if isinstance(title, str) and title != node.class_type else None,
        widget_names=widgets.names,
        links=inputs.links,
        unfed=tuple(inputs.unfed),
    )


@dataclass(slots=True)
class _LinkedInputs:
    """Inputs of one node by their links; see `WorkflowNode`."""

    linked: set[str] = field(default_factory=set)
    links: dict[str, LinkSource] = field(default_factory=dict)
    unfed: list[str] = field(default_factory=list)


def _follow_links(scope: GraphScope, node: RawNode, widgets: NodeWidgets, known: GraphDefinitions) -> _LinkedInputs:
    """Find the source of every input of a node, and set the widget values that come through links."""
    inputs = _LinkedInputs()
    for slot in node.slots:
        has_widget = is_widget_slot(slot, node.class_type, known.table) or slot.name in widgets.by_name
        source: InputSource = LinkEnd.NOWHERE
        if slot.link is not None:
            source = resolve_link(scope, slot, known, has_widget=has_widget)
        if source is LinkEnd.BROKEN or source is LinkEnd.CIRCLE:
            if scope.active and not node.is_switched_off:
                known.problems.append(_build_link_problem(slot.name, scope.prefix + node.id, source))
            source = LinkEnd.NOWHERE
        if isinstance(source, StoredValue | SourceNode) and source.link is not None:
            inputs.links[slot.name] = source.link
        if not has_widget:
            is_sent = scope.active and not node.is_switched_off
            _add_link_only_input(inputs, slot, source, widgets, is_sent=is_sent)
        elif slot.link is not None:
            _apply_to_widget(inputs, slot, source, widgets)
    return inputs


def _build_link_problem(name: str, path: str, end: LinkEnd) -> WorkflowProblem:
    why = f"The input {name!r:.80} is linked to nothing that exists"
    if end is LinkEnd.CIRCLE:
        why = (
            f"The link of the input {name!r:.80} passes the same node twice, in a circle or through two instances of "
            "one subgraph"
        )
    return WorkflowProblem("editor-cannot-send", f"{why}: the editor cannot send this workflow.", path)


def _build_unopened_problem(node: RawNode, path: str) -> WorkflowProblem:
    message = (
        f"The group node {node.class_type!r:.80} lies in a subgraph: the editor does not open it there, and sends a "
        "class that no server has. Convert it to nodes or to a subgraph."
    )
    return WorkflowProblem("editor-cannot-send", message, path)


def _add_link_only_input(
    inputs: _LinkedInputs, slot: InputSlot, source: InputSource, widgets: NodeWidgets, *, is_sent: bool
) -> None:
    if isinstance(source, StoredValue) and source.link is None:
        # A promoted widget of the host feeds this input too; the editor sends its value instead of a link. To a node
        # that is not sent, a bypassed loader behind a bypassed reroute would pass its file name as a VAE.
        if is_sent:
            widgets.by_name[slot.name] = source.value
        return
    if slot.link is not None and source is not LinkEnd.DEFAULT:
        inputs.linked.add(slot.name)
    if source is LinkEnd.NOWHERE:
        inputs.unfed.append(slot.name)


def _apply_to_widget(inputs: _LinkedInputs, slot: InputSlot, source: InputSource, widgets: NodeWidgets) -> None:
    widget_name = slot.widget or slot.name
    if isinstance(source, StoredValue):
        widgets.set_value(widget_name, source.value)
    elif source is LinkEnd.DEFAULT:
        widgets.clear_value(widget_name)
    elif isinstance(source, SourceNode) or source is LinkEnd.NODE:
        # The server ignores the stored value of a linked widget.
        inputs.linked.update((slot.name, widget_name))
        widgets.by_name.pop(widget_name, None)


def _get_note_texts(node: RawNode) -> list[str]:
    values = node.raw.get("widgets_values")
    texts = list(values.values()) if isinstance(values, dict) else as_list(values)
    return [text for text in texts if isinstance(text, str) and text]


def _parse_declared_models(entries: object, path: str | None) -> list[DeclaredModel]:
    models: list[DeclaredModel] = []
    for entry in as_list(entries):
        model = as_mapping(entry)
        name = as_text(model.get("name"))
        if name is None:
            continue
        models.append(
            DeclaredModel(
                name=name,
                url=as_text(model.get("url")),
                directory=as_text(model.get("directory")),
                hash=as_text(model.get("hash")),
                hash_type=as_text(model.get("hash_type")),
                node_path=path,
            )
        )
    return models
