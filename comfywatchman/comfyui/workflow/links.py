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
    """How a link ended without a value; `UNSURE` where the editor may follow it in a way that we do not."""

    NOWHERE = "nowhere"
    UNSURE = "unsure"
    NODE = "node"


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


InputSource = StoredValue | SourceNode | Literal[LinkEnd.NOWHERE, LinkEnd.UNSURE, LinkEnd.NODE]
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


def resolve_link(scope: GraphScope, link: LinkId, known: GraphDefinitions) -> InputSource:
    """Return the source of the input at the end of a link.

    Follows reroutes, Get and Set nodes, bypassed nodes, and the borders of subgraphs. A host's own value for an input
    is used when the link beyond that input leads nowhere.
    """
    trace = _LinkTrace()
    step: _Step = _LinkPosition(scope, link)
    # A file can link nodes in a circle; where we give up, a node is the safe assumption.
    for _ in range(_MAX_HOPS):
        if not isinstance(step, _LinkPosition):
            return trace.finish(step)
        inner = step.scope
        current = inner.graph.links.get(step.link)
        if current is None:
            return trace.finish(LinkEnd.NOWHERE)
        if current.origin == SUBGRAPH_INPUT:
            name = _get_input_name(inner, current.origin_slot)
            if name in inner.promoted:
                trace.fallback = StoredValue(inner.promoted[name])
            step = _step_to_host(inner, name)
            continue
        origin = inner.graph.by_id.get(current.origin)
        if origin is None:
            return trace.finish(LinkEnd.NOWHERE)
        _note_node(trace, inner, origin, current.origin_slot)
        step = _step_through_node(inner, origin, current.origin_slot, known)
    return trace.finish(LinkEnd.NODE)


def _note_node(trace: _LinkTrace, scope: GraphScope, origin: RawNode, output: int) -> None:
    """Record a node after which the rest of the link is uncertain, or where it ends for the server."""
    if _is_ambiguous(origin):
        trace.is_certain = False
        if trace.fallback is LinkEnd.NOWHERE:
            trace.fallback = LinkEnd.UNSURE
    is_sent = origin.class_type in TEXT_PRIMITIVES and not origin.is_switched_off
    if is_sent and trace.primitive is None:
        trace.primitive = LinkSource(scope.prefix + origin.id, output, trace.is_certain)


def _get_input_name(scope: GraphScope, slot: int) -> str:
    return get_item(scope.graph.inputs, slot) or ""


def _step_to_host(scope: GraphScope, name: str) -> _Step:
    """Continue outside a subgraph, at the host's input of that name."""
    if scope.outer is None or scope.host is None:
        return LinkEnd.NOWHERE
    return _step_to_slot(scope.outer, scope.host.find_slot(name))


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
    if origin.class_type == PRIMITIVE or origin.class_type in TEXT_PRIMITIVES:
        return _read_primitive(scope, origin, known)
    return SourceNode(LinkSource(scope.prefix + origin.id, output))


def _is_ambiguous(origin: RawNode) -> bool:
    """Return whether the editor may continue from a node in another way: through a type that matches several inputs."""
    if origin.class_type in GETTERS or origin.class_type == PRIMITIVE:
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


def _read_primitive(scope: GraphScope, node: RawNode, known: GraphDefinitions) -> _Step:
    """Return the value of a primitive node: from its own link, from the host, or as stored."""
    slot = node.find_slot("value")
    if slot is not None and slot.link is not None:
        return _LinkPosition(scope, slot.link)
    overrides = scope.overrides.get(node.id)
    if overrides:
        return StoredValue(next(iter(overrides.values())))
    stored = read_stored_widgets(node, known.table, path="", problems=[])
    values = stored.by_position or list(stored.by_name.values())
    if not values or values[0] is None:
        return LinkEnd.NOWHERE
    return StoredValue(values[0])


def _step_into_host(scope: GraphScope, host: RawNode, output: int, known: GraphDefinitions) -> _Step:
    """Continue inside a subgraph, at the link that feeds the output."""
    inner = known.enter_host(scope, host)
    if inner is None:
        return LinkEnd.NODE
    link = get_item(inner.graph.outputs, output)
    if link is None:
        return LinkEnd.NODE
    return _LinkPosition(inner, link)
