"""Follow a link to its origin, through reroutes and bypassed nodes: a value in the file, or a node's output."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

from comfywatchman.base.json_values import as_list, as_mapping
from comfywatchman.comfyui.workflow.document import LinkSource
from comfywatchman.comfyui.workflow.graph import (
    BYPASSED,
    GETTERS,
    MUTED,
    PRIMITIVE,
    REROUTES,
    SETTERS,
    SUBGRAPH_INPUT,
    VIRTUAL,
    InputSlot,
    LinkId,
    RawNode,
    get_first_text,
    get_item,
)
from comfywatchman.comfyui.workflow.scopes import GraphDefinitions, GraphScope
from comfywatchman.comfyui.workflow.widgets import read_stored_widgets

TEXT_PRIMITIVES: Final = frozenset({"PrimitiveString", "PrimitiveStringMultiline"})
"""Classes of the server whose only output is the text in their `value` widget."""

_MAX_HOPS: Final = 256
_ANY_TYPE: Final = frozenset({"", "*"})


class LinkEnd(Enum):
    """How a link ended without a value.

    `UNSURE` where the editor may follow it in a way that we do not, `BROKEN` where the editor raises an error instead
    of sending the workflow.
    """

    NOWHERE = "nowhere"
    UNSURE = "unsure"
    NODE = "node"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class SourceNode:
    """The output of a node that the server receives and that feeds the link."""

    link: LinkSource


@dataclass(frozen=True, slots=True)
class StoredValue:
    """A value in the file itself.

    Attributes:
        value: The value.
        link: The output of a text primitive that supplies it to the server; None where the editor sends the value.
    """

    value: object
    link: LinkSource | None = None


InputSource = StoredValue | SourceNode | Literal[LinkEnd.NOWHERE, LinkEnd.UNSURE, LinkEnd.NODE, LinkEnd.BROKEN]
"""Source of an input: a value, a node's output (with the node's path where it is known), or nothing, so that the
stored widget value counts."""


@dataclass(frozen=True, slots=True)
class _LinkPosition:
    """A link that has to be followed further, in its scope."""

    scope: GraphScope
    link: LinkId


_Step = _LinkPosition | InputSource


@dataclass(slots=True)
class _LinkTrace:
    """Facts met on the way to the origin of a link.

    Attributes:
        fallback: The source if the link leads nowhere from here on.
        primitive: The output of the first text primitive: a node of the server, so its link ends there.
        is_certain: Whether the editor certainly goes the same way.
    """

    fallback: InputSource = LinkEnd.NOWHERE
    primitive: LinkSource | None = None
    is_certain: bool = True

    def finish(self, source: InputSource) -> InputSource:
        """Return the source with the facts collected along the link."""
        if source is LinkEnd.NOWHERE:
            source = self.fallback
        if self.primitive is not None:
            return (
                StoredValue(source.value, self.primitive)
                if isinstance(source, StoredValue)
                else SourceNode(self.primitive)
            )
        if isinstance(source, SourceNode) and not self.is_certain:
            return SourceNode(source.link._replace(is_certain=False))
        return source


def resolve_link(scope: GraphScope, link: LinkId, known: GraphDefinitions, *, has_widget: bool) -> InputSource:
    """Return the source of the input at the end of a link.

    Follows reroutes, Get and Set nodes, bypassed nodes, and the borders of subgraphs.

    Args:
        scope: The scope of the input.
        link: The link; one that does not exist leads nowhere.
        known: Definitions of the file.
        has_widget: Whether the input has a widget.
    """
    trace = _LinkTrace()
    step: _Step = _LinkPosition(scope, link)
    # A file can link nodes in a circle; where we give up, a node is the safe assumption.
    for _ in range(_MAX_HOPS):
        if not isinstance(step, _LinkPosition):
            return trace.finish(step)
        # A PrimitiveNode writes into the widgets of its own graph; it has no output for the server.
        reads_primitives = has_widget and step.scope is scope
        step = _step_along(step, trace, known, reads_primitives=reads_primitives)
    return trace.finish(LinkEnd.NODE)


def _step_along(
    position: _LinkPosition, trace: _LinkTrace, known: GraphDefinitions, *, reads_primitives: bool
) -> _Step:
    """Continue behind the origin of a link."""
    scope = position.scope
    link = scope.graph.links.get(position.link)
    if link is None:
        return LinkEnd.NOWHERE
    if link.origin == SUBGRAPH_INPUT:
        return _step_to_host(scope, link.origin_slot, known)
    origin = scope.graph.by_id.get(link.origin)
    if origin is None:
        # The editor takes group nodes apart and only leaves such a link out.
        is_group = scope.outer is not None and scope.kind not in known.subgraphs
        return LinkEnd.NOWHERE if is_group else LinkEnd.BROKEN
    if origin.class_type == PRIMITIVE and not reads_primitives:
        return LinkEnd.NOWHERE
    _note_node(trace, scope, origin, link.origin_slot, known)
    return _step_through_node(scope, origin, link.origin_slot, known)


def _note_node(trace: _LinkTrace, scope: GraphScope, origin: RawNode, output: int, known: GraphDefinitions) -> None:
    """Record a node after which the rest of the link is uncertain, or where it ends for the server."""
    if _is_ambiguous(origin):
        trace.is_certain = False
        if trace.fallback is LinkEnd.NOWHERE:
            trace.fallback = LinkEnd.UNSURE
    is_sent = origin.class_type in TEXT_PRIMITIVES and not origin.is_switched_off
    if is_sent and trace.primitive is None:
        trace.primitive = LinkSource(scope.prefix + origin.id, output, trace.is_certain)
        trace.fallback = _read_own_value(scope, origin, known)


def _step_to_host(scope: GraphScope, input_slot: int, known: GraphDefinitions) -> _Step:
    """Continue outside a subgraph at the host's input, or end at the value that the host has for it."""
    name = get_item(scope.graph.inputs, input_slot)
    if scope.outer is None or scope.host is None or name is None:
        return LinkEnd.NOWHERE
    slot = scope.host.find_slot(name)
    # An input that is linked has no value of its own, even if the link brings nothing.
    if slot is not None and slot.link in scope.outer.graph.links:
        return _step_to_slot(scope.outer, slot)
    if not known.is_promoted(scope, name):
        return LinkEnd.NOWHERE
    shown = known.read_shown_value(scope, name)
    return StoredValue(shown[0]) if shown is not None else LinkEnd.UNSURE


def _step_through_node(scope: GraphScope, origin: RawNode, output: int, known: GraphDefinitions) -> _Step:
    """Continue behind a node that passes its input on; end at a node that the server receives."""
    if origin.mode == MUTED:
        return LinkEnd.NOWHERE
    if origin.mode == BYPASSED:
        return _step_to_slot(scope, _find_bypass_slot(origin, output))
    if origin.class_type not in VIRTUAL | TEXT_PRIMITIVES and known.is_host(origin):
        return _step_into_host(scope, origin, output, known)
    return _step_through_active_node(scope, origin, output, known)


def _step_through_active_node(scope: GraphScope, origin: RawNode, output: int, known: GraphDefinitions) -> _Step:
    if origin.class_type in REROUTES or origin.class_type in SETTERS:
        return _step_to_first_slot(scope, origin)
    if origin.class_type in GETTERS:
        return _step_to_setter(scope, origin)
    if origin.class_type == PRIMITIVE:
        return _read_own_value(scope, origin, known)
    if origin.class_type in TEXT_PRIMITIVES:
        return _step_into_text(scope, origin, known)
    return SourceNode(LinkSource(scope.prefix + origin.id, output))


def _is_ambiguous(origin: RawNode) -> bool:
    """Return whether the editor may continue from a node in another way: through a type that matches several inputs."""
    if origin.class_type in GETTERS:
        return True
    if origin.mode != BYPASSED:
        return False
    output_types = [slot.get("type") for slot in _list_outputs(origin) if isinstance(slot, dict)]
    input_types = [slot.type for slot in origin.slots]
    return any(_matches_several_types(data_type) for data_type in [*output_types, *input_types])


def _matches_several_types(data_type: object) -> bool:
    # Newer editors write a union of types as `A,B`.
    return not isinstance(data_type, str) or data_type in _ANY_TYPE or "," in data_type


def _step_to_slot(scope: GraphScope, slot: InputSlot | None) -> _Step:
    if slot is None or slot.link is None:
        return LinkEnd.NOWHERE
    return _LinkPosition(scope, slot.link)


def _step_to_first_slot(scope: GraphScope, node: RawNode) -> _Step:
    return _step_to_slot(scope, get_item(node.slots, 0))


def _find_bypass_slot(node: RawNode, output: int) -> InputSlot | None:
    """Return the input that a bypassed node passes on to an output."""
    # As in the editor: the input at the output's own position if the types agree, else the first of the same type.
    output_type = as_mapping(get_item(_list_outputs(node), output)).get("type")
    same_position = get_item(node.slots, output)
    if same_position is not None and same_position.type == output_type:
        return same_position
    for slot in node.slots:
        if slot.type == output_type:
            return slot
    return None


def _list_outputs(node: RawNode) -> list[object]:
    return as_list(node.raw.get("outputs"))


def _step_to_setter(scope: GraphScope, getter: RawNode) -> _Step:
    """Continue at the Set node that publishes under the name of a Get node, in this scope or one around it."""
    name = get_first_text(getter.raw)
    if name is None:
        return LinkEnd.NOWHERE
    for around in scope.iterate_outward():
        setter = around.graph.setters.get(name)
        if setter is not None:
            return _step_to_first_slot(around, setter)
    return LinkEnd.NOWHERE


def _step_into_text(scope: GraphScope, node: RawNode, known: GraphDefinitions) -> _Step:
    """Continue at the link that feeds a text node, or end at its own value."""
    slot = node.find_slot("value")
    if slot is not None and slot.link in scope.graph.links:
        return _step_to_slot(scope, slot)
    return _read_own_value(scope, node, known)


def _read_own_value(scope: GraphScope, node: RawNode, known: GraphDefinitions) -> InputSource:
    """Return the value of a primitive or text node: from the host, or as stored."""
    overrides = scope.overrides.get(node.id)
    if overrides:
        return StoredValue(next(iter(overrides.values())))
    stored = read_stored_widgets(node, known.table, path="", problems=[])
    values = stored.by_position or list(stored.by_name.values())
    if values and values[0] is not None:
        return StoredValue(values[0])
    if node.class_type == PRIMITIVE:
        return LinkEnd.NOWHERE
    # The server receives the text node; its default text is not in the file.
    return LinkEnd.NODE


def _step_into_host(scope: GraphScope, host: RawNode, output: int, known: GraphDefinitions) -> _Step:
    """Continue inside a subgraph, at the link that feeds the output."""
    inner = known.enter_host(scope, host)
    if inner is None or host.class_type not in known.subgraphs:
        return LinkEnd.NODE
    if not 0 <= output < len(inner.graph.outputs):
        return LinkEnd.BROKEN
    link = inner.graph.outputs[output]
    if link is None:
        # The output lists no link that exists.
        return LinkEnd.NOWHERE
    if inner.graph.links[link].origin == SUBGRAPH_INPUT:
        # The editor cannot send an output that is linked straight to an input.
        return LinkEnd.BROKEN
    return _LinkPosition(inner, link)
