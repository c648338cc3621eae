"""Follow a link to its origin, through reroutes and bypassed nodes: a value in the file, or a node's output."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Literal

from comfywatchman.comfyui.workflow.bypass import can_connect, find_bypassed_input, get_output_type, has_unknown_type
from comfywatchman.comfyui.workflow.document import LinkSource, WidgetDefault
from comfywatchman.comfyui.workflow.graph import (
    BYPASSED,
    GETTERS,
    MUTED,
    PRIMITIVE,
    REROUTE,
    REROUTES,
    SETTERS,
    SUBGRAPH_INPUT,
    VIRTUAL,
    Graph,
    GraphLink,
    InputSlot,
    LinkId,
    RawNode,
    get_first_text,
    get_item,
)
from comfywatchman.comfyui.workflow.scopes import GraphDefinitions, GraphScope, ShownValue
from comfywatchman.comfyui.workflow.widgets import read_stored_widgets

TEXT_PRIMITIVES: Final = frozenset({"PrimitiveString", "PrimitiveStringMultiline"})
"""Classes of the server whose only output is the text in their `value` widget."""

_TEXT_TYPE: Final = "STRING"
_ANY_TYPE: Final = "*"
_MAX_HOPS: Final = 256


class LinkEnd(Enum):
    """How a link ended without a value.

    `UNSURE` where the editor may follow it in a way that we do not, `DEFAULT` where it sends the default of a node
    class. `BROKEN` and `CIRCLE` where it raises an error instead of sending the workflow.
    """

    NOWHERE = "nowhere"
    UNSURE = "unsure"
    DEFAULT = "default"
    NODE = "node"
    BROKEN = "broken"
    CIRCLE = "circle"


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


InputSource = (
    StoredValue
    | SourceNode
    | Literal[LinkEnd.NOWHERE, LinkEnd.UNSURE, LinkEnd.DEFAULT, LinkEnd.NODE, LinkEnd.BROKEN, LinkEnd.CIRCLE]
)
"""Source of an input: a value, a node's output (with the node's path where it is known), or nothing, so that the
stored widget value counts."""


@dataclass(frozen=True, slots=True)
class _LinkPosition:
    """A link that has to be followed further.

    Attributes:
        scope: Its scope.
        link: The link.
        wanted: Type of the input that it feeds. Nodes that exist in the editor only and outputs of instances keep it;
            behind a bypassed node or an input of an instance, the type of that input counts.
    """

    scope: GraphScope
    link: LinkId
    wanted: str


_Step = _LinkPosition | InputSource


@dataclass(slots=True)
class _LinkTrace:
    """Facts met on the way to the origin of a link.

    Attributes:
        fallback: The source if the link leads nowhere from here on.
        primitive: The output of the first text primitive: a node of the server, so its link ends there.
        is_certain: Whether the editor certainly goes the same way.
        visited: Graph, node, and output or input, of what the link has passed.
    """

    fallback: InputSource = LinkEnd.NOWHERE
    primitive: LinkSource | None = None
    is_certain: bool = True
    visited: set[tuple[str, str, int | str]] = field(default_factory=set)

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


def resolve_link(scope: GraphScope, slot: InputSlot, known: GraphDefinitions, *, has_widget: bool) -> InputSource:
    """Return the source of a linked input.

    Follows reroutes, Get and Set nodes, bypassed nodes, and the borders of subgraphs.

    Args:
        scope: The scope of the input.
        slot: The input; a link that does not exist leads nowhere.
        known: Definitions of the file.
        has_widget: Whether the input has a widget.
    """
    trace = _LinkTrace()
    step = _step_to_slot(scope, slot)
    if has_widget and isinstance(step, _LinkPosition):
        primitive = _find_primitive(step)
        if primitive is not None:
            return _read_primitive(scope, primitive, known)
    # A file can link nodes in a circle; where we give up, a node is the safe assumption.
    for _ in range(_MAX_HOPS):
        if not isinstance(step, _LinkPosition):
            return trace.finish(step)
        step = _step_along(step, trace, known)
    return trace.finish(LinkEnd.NODE)


def _find_primitive(position: _LinkPosition) -> RawNode | None:
    """Return the PrimitiveNode at the origin of a link.

    Whatever its mode, it writes its value into the widgets at the other ends of its own links, and nowhere else.
    """
    link = position.scope.graph.links.get(position.link)
    origin = position.scope.graph.by_id.get(link.origin) if link is not None else None
    return origin if origin is not None and origin.class_type == PRIMITIVE else None


def _step_along(position: _LinkPosition, trace: _LinkTrace, known: GraphDefinitions) -> _Step:
    """Continue behind the origin of a link."""
    scope = position.scope
    link = scope.graph.links.get(position.link)
    if link is None or _is_cut(scope.graph, position.link):
        return LinkEnd.NOWHERE
    if link.origin == SUBGRAPH_INPUT:
        return _step_to_host(scope, link.origin_slot, trace, known)
    origin = scope.graph.by_id.get(link.origin)
    if origin is None:
        # The editor takes group nodes apart and only leaves such a link out.
        is_group = scope.outer is not None and scope.kind not in known.subgraphs
        return LinkEnd.NOWHERE if is_group else LinkEnd.BROKEN
    if origin.class_type == PRIMITIVE:
        # It has no output for the server; a bypassed one counts as a node without inputs, whatever its value.
        is_broken = origin.mode == BYPASSED and position.wanted == _ANY_TYPE
        return LinkEnd.BROKEN if is_broken else LinkEnd.NOWHERE
    if not _visit(trace, scope, (origin.id, link.origin_slot), known):
        return LinkEnd.CIRCLE
    _note_node(trace, position, origin, link.origin_slot, known)
    return _step_through_node(position, origin, link.origin_slot, known)


def _is_cut(graph: Graph, link_id: LinkId | None) -> bool:
    """Return whether a Reroute drops a link when the editor loads the file: it feeds an input of another type.

    Only a Reroute checks this. Direct links between types that do not fit stay.
    """
    link = graph.links.get(link_id) if link_id is not None else None
    target = graph.find_target(link_id) if link_id is not None and link is not None else None
    if target is None or target[0].class_type == REROUTE:
        return False
    is_rerouted = False
    for _ in range(_MAX_HOPS):
        origin = graph.by_id.get(link.origin) if link is not None else None
        if link is None or origin is None:
            # No node, or one outside of the subgraph, whose type the Reroute does not see.
            return False
        if origin.class_type != REROUTE:
            return is_rerouted and not can_connect(_get_sent_type(origin, link), target[1].type)
        is_rerouted = True
        slot = get_item(origin.slots, 0)
        link = graph.links.get(slot.link) if slot is not None and slot.link is not None else None
    return False


def _get_sent_type(origin: RawNode, link: GraphLink) -> str:
    """Return the type of the output at which a link begins; empty where the file does not give it."""
    if origin.class_type in TEXT_PRIMITIVES:
        # The class decides, not the file.
        return _TEXT_TYPE
    return get_output_type(origin, link.origin_slot) or ""


def _visit(trace: _LinkTrace, scope: GraphScope, place: tuple[str, int | str], known: GraphDefinitions) -> bool:
    """Record an output or input that a link passes; return False if it has passed it before.

    The editor does not tell the instances of a subgraph apart here: a link through two of them counts as a circle.
    """
    is_group = scope.outer is not None and scope.kind not in known.subgraphs
    key = (scope.prefix if is_group else scope.kind, *place)
    is_new = key not in trace.visited
    trace.visited.add(key)
    return is_new


def _note_node(
    trace: _LinkTrace, position: _LinkPosition, origin: RawNode, output: int, known: GraphDefinitions
) -> None:
    """Record a node after which the rest of the link is uncertain, or where it ends for the server."""
    scope = position.scope
    # We know a Get node of some packs only, and the installed class of a bypassed node not at all.
    is_bypassed = origin.mode == BYPASSED
    if origin.class_type in GETTERS or (is_bypassed and has_unknown_type(origin, output, position.wanted)):
        trace.is_certain = False
        if trace.fallback is LinkEnd.NOWHERE:
            trace.fallback = LinkEnd.UNSURE
    is_sent = origin.class_type in TEXT_PRIMITIVES and not origin.is_switched_off
    if is_sent and trace.primitive is None:
        trace.primitive = LinkSource(scope.prefix + origin.id, output, trace.is_certain)
        trace.fallback = _read_own_value(origin, known)


def _step_to_host(scope: GraphScope, input_slot: int, trace: _LinkTrace, known: GraphDefinitions) -> _Step:
    """Continue outside a subgraph at the host's input, or end at the value that the host has for it."""
    name = get_item(scope.graph.inputs, input_slot)
    if scope.outer is None or scope.host is None or name is None:
        return LinkEnd.NOWHERE
    slot = scope.host.find_slot(name)
    # An input that is linked has no value of its own, even if the link brings nothing.
    outer = scope.outer.graph
    link_id = slot.link if slot is not None else None
    if slot is not None and link_id in outer.links and not _is_cut(outer, link_id):
        is_new = _visit(trace, scope.outer, (scope.host.id, name), known)
        return _step_to_slot(scope.outer, slot) if is_new else LinkEnd.CIRCLE
    if not known.is_promoted(scope, name):
        return LinkEnd.NOWHERE
    return _to_source(known.read_shown_value(scope, name))


def _step_through_node(position: _LinkPosition, origin: RawNode, output: int, known: GraphDefinitions) -> _Step:
    """Continue behind a node that passes its input on; end at a node that the server receives."""
    if origin.mode == MUTED:
        return LinkEnd.NOWHERE
    if origin.mode == BYPASSED:
        slot = find_bypassed_input(origin, output, position.wanted)
        if slot is None and position.wanted == _ANY_TYPE and not origin.raw.get("widgets_values"):
            # For any type the editor takes the first input, and raises an error where there is none.
            return LinkEnd.BROKEN
        return _step_to_slot(position.scope, slot)
    if origin.class_type not in VIRTUAL | TEXT_PRIMITIVES and known.is_host(origin):
        return _step_into_host(position, origin, output, known)
    return _step_through_active_node(position, origin, output, known)


def _step_through_active_node(position: _LinkPosition, origin: RawNode, output: int, known: GraphDefinitions) -> _Step:
    scope, wanted = position.scope, position.wanted
    if origin.class_type in REROUTES or origin.class_type in SETTERS:
        return _step_to_slot(scope, get_item(origin.slots, 0), wanted)
    if origin.class_type in GETTERS:
        return _step_to_setter(scope, origin, wanted)
    if origin.class_type in TEXT_PRIMITIVES:
        return _step_into_text(scope, origin, known)
    return SourceNode(LinkSource(scope.prefix + origin.id, output))


def _step_to_slot(scope: GraphScope, slot: InputSlot | None, wanted: str | None = None) -> _Step:
    """Continue at an input; `wanted` is the type to find, where it is not that of the input."""
    if slot is None or slot.link is None:
        return LinkEnd.NOWHERE
    return _LinkPosition(scope, slot.link, slot.type if wanted is None else wanted)


def _step_to_setter(scope: GraphScope, getter: RawNode, wanted: str) -> _Step:
    """Continue at the Set node that publishes under the name of a Get node, in this scope or one around it."""
    name = get_first_text(getter.raw)
    if name is None:
        return LinkEnd.NOWHERE
    for around in scope.iterate_outward():
        setter = around.graph.setters.get(name)
        if setter is not None:
            return _step_to_slot(around, get_item(setter.slots, 0), wanted)
    return LinkEnd.NOWHERE


def _step_into_text(scope: GraphScope, node: RawNode, known: GraphDefinitions) -> _Step:
    """Continue at the link that feeds a text node, or end at its own value."""
    slot = node.find_slot("value")
    if slot is not None and slot.link in scope.graph.links:
        return _step_to_slot(scope, slot)
    return _read_own_value(node, known)


def _read_own_value(node: RawNode, known: GraphDefinitions) -> InputSource:
    """Return the value of a text node: from the host, or as stored."""
    values = _list_stored_values(node, known)
    if values and values[0] is not None:
        return StoredValue(values[0])
    # The server receives the text node; its default text is not in the file.
    return LinkEnd.NODE


def _read_primitive(scope: GraphScope, node: RawNode, known: GraphDefinitions) -> InputSource:
    """Return the value of a PrimitiveNode: as stored, or that of the widget at the end of its first link."""
    values = _list_stored_values(node, known)
    if values:
        return StoredValue(values[0])
    first = known.find_first_link(scope, node)
    target = scope.graph.find_target(first) if first is not None else None
    if target is None:
        return LinkEnd.UNSURE
    target_node, slot = target
    return _to_source(known.read_widget(scope, target_node, slot.widget or slot.name))


def _list_stored_values(node: RawNode, known: GraphDefinitions) -> list[object]:
    stored = read_stored_widgets(node, known.table, path="", problems=[])
    return stored.by_position or list(stored.by_name.values())


def _to_source(shown: ShownValue) -> InputSource:
    """Return a value that a widget shows as the source of an input."""
    if shown is WidgetDefault.VALUE:
        return LinkEnd.DEFAULT
    return StoredValue(shown[0]) if shown is not None else LinkEnd.UNSURE


def _step_into_host(position: _LinkPosition, host: RawNode, output: int, known: GraphDefinitions) -> _Step:
    """Continue inside a subgraph, at the link that feeds the output."""
    inner = known.enter_host(position.scope, host)
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
    return _LinkPosition(inner, link, position.wanted)
