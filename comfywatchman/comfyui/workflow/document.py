"""A workflow, independent of its file format: the nodes that the server would receive, with their values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import NamedTuple


class WorkflowFormat(StrEnum):
    """File format of a workflow: the graph editor's, its version 1, or the server's prompt (API format)."""

    UI = "ui-0.4"
    UI_V1 = "ui-1"
    API = "api"


class WidgetDefault(Enum):
    """Stands for a value that the editor takes from a node class instead of the file."""

    VALUE = "default"


@dataclass(frozen=True, slots=True)
class WorkflowProblem:
    """A defect of a file that did not keep the rest from being read.

    Attributes:
        code: Short stable name, for programs and tests (`widget-names-disagree`).
        message: The defect, for people.
        node_path: The node it concerns, if any.
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


class LinkSource(NamedTuple):
    """The output that feeds an input in the prompt.

    Attributes:
        path: Path of the node, as in `WorkflowNode`.
        slot: Number of its output, as the file writes it.
        is_certain: False where the editor may find another source: behind a bypassed node of several possible types,
            or a Get node.
    """

    path: str
    slot: int
    is_certain: bool = True


@dataclass(frozen=True, slots=True)
class WorkflowNode:
    """One node as the server would receive it: subgraphs and groups flattened, virtual nodes resolved.

    Attributes:
        path: Ids from the outside in, joined by `:` (`12:5` is node 5 of the subgraph instance 12).
        class_type: The node class.
        active: False when it, or the outermost subgraph around it, is muted or bypassed.
        values: Effective literal value by input name; inputs fed by a link are absent.
        positional: Widget values in widget order, effective ones where the host overrides, `WidgetDefault` where
            that is the default of a class; empty when the file gives values by name only. For readers that know an
            input's position but not its name.
        linked: Names of inputs that a link feeds (so that a stored widget value is not used).
        cnr_id: Comfy Registry id of the pack that saved the node, if the file has it.
        aux_id: `owner/repository` of an unregistered pack, if the file has it.
        version: Version or commit of that pack, if the file has it.
        title: The author's name for the node, if it differs from the class.
        widget_names: Names of the values of `positional`, None where the file does not give one; may be shorter.
        links: The outputs that feed it, by input name, as the server receives them; without inputs whose source is not
            known. An input that a text primitive feeds is here and in `values`.
        malformed: Inputs of the API format whose value is a list, but not a link that the server can follow.
        unfed: Names of inputs without a widget that certainly receive nothing: not linked, or linked to a node that
            is not sent.
        has_meta: Whether it stands in a prompt of the API format with its `_meta`.
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
    links: Mapping[str, LinkSource] = field(default_factory=dict)
    malformed: frozenset[str] = frozenset()
    unfed: tuple[str, ...] = ()
    has_meta: bool = False


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow file, read as far as possible.

    Attributes:
        format: Its format.
        container: The file that contained it: `json`, or the media type of an embedded one (`png`, `webp`, `mp4`, …).
        nodes: Every node that would be sent or skipped as inactive; notes and virtual nodes are left out.
        declared: Models that the author declared.
        notes: Text of note nodes (a source of download URLs; never of references).
        problems: Defects, in the order found.
    """

    format: WorkflowFormat
    container: str
    nodes: tuple[WorkflowNode, ...]
    declared: tuple[DeclaredModel, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[WorkflowProblem, ...] = ()
