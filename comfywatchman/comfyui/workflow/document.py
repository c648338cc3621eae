"""What a workflow says, whatever its format: the nodes that a server would get, with their values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class WorkflowFormat(StrEnum):
    """How a workflow is written (the graph editor's file, its version 1, or the server's prompt)."""

    UI = "ui-0.4"
    UI_V1 = "ui-1"
    API = "api"


@dataclass(frozen=True, slots=True)
class WorkflowProblem:
    """Something wrong with a file that did not keep the rest from being read.

    Attributes:
        code: Short stable name, for programs and tests (`widget-names-disagree`).
        message: What is wrong, for people.
        node_path: The node it concerns, if one.
    """

    code: str
    message: str
    node_path: str | None = None


@dataclass(frozen=True, slots=True)
class DeclaredModel:
    """A model that the workflow's author declared (`properties.models` of a node, or the workflow's `models`)."""

    name: str
    url: str | None
    directory: str | None
    hash: str | None
    hash_type: str | None
    node_path: str | None


@dataclass(frozen=True, slots=True)
class WorkflowNode:
    """One node as the server would get it, subgraphs and groups flattened, virtual nodes resolved.

    Attributes:
        path: Ids from the outside in, joined by `:` (`12:5` is node 5 of the subgraph instance 12).
        class_type: The node class.
        active: False when it, or a subgraph around it, is muted or bypassed.
        values: Effective literal value by input name; inputs fed by a link are absent.
        positional: Widget values in widget order, effective ones where the host overrides; empty when the file
            gives values by name only. For readers that know an input's place but not its name.
        linked: Names of inputs that a link feeds (so that a stored widget value is not used).
        cnr_id: Comfy Registry id of the pack that saved the node, if the file says.
        aux_id: `owner/repository` of an unregistered pack, if the file says.
        version: Version or commit of that pack, if the file says.
        title: What the author called the node, if something else than its class.
        widget_names: Names of the places of `positional`, None where the file does not tell; may be shorter.
        sources: Paths of the nodes that feed it.
        unfed: Names of inputs without a widget that surely get nothing: not linked, or linked to what is not sent.
    """

    path: str
    class_type: str
    active: bool
    values: Mapping[str, object]
    positional: tuple[object, ...] = ()
    linked: frozenset[str] = frozenset()
    cnr_id: str | None = None
    aux_id: str | None = None
    version: str | None = None
    title: str | None = None
    widget_names: tuple[str | None, ...] = ()
    sources: tuple[str, ...] = ()
    unfed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow file, read as far as it goes.

    Attributes:
        format: How it is written.
        container: What held it: `json`, or the media type of an embedded one (`png`, `webp`, `mp4`, …).
        nodes: Every node that would be sent or would be skipped as inactive; notes and virtual nodes are left out.
        declared: Models the author declared.
        notes: Text of note nodes (a source of download addresses; never of references).
        problems: What was wrong, in the order found.
    """

    format: WorkflowFormat
    container: str
    nodes: tuple[WorkflowNode, ...]
    declared: tuple[DeclaredModel, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[WorkflowProblem, ...] = ()
