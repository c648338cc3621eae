"""Follow a link to what it brings: a value that the file holds, or something that only a run can give."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

from comfywatchman.comfyui.workflow.graph import (
    BYPASSED,
    GETTERS,
    MUTED,
    PRIMITIVE,
    REROUTES,
    SETTERS,
    SUBGRAPH_INPUT,
    InputSlot,
    LinkId,
    RawNode,
    get_first_text,
)
from comfywatchman.comfyui.workflow.scopes import GraphDefinitions, GraphScope
from comfywatchman.comfyui.workflow.widgets import read_stored_widgets

TEXT_PRIMITIVES: Final = frozenset({"PrimitiveString", "PrimitiveStringMultiline"})
"""Classes of the server whose only output is the text in their `value` widget."""

_MAX_HOPS: Final = 256
_ANY: Final = frozenset({"", "*"})


class LinkEnd(Enum):
    """How a link ended that brought no value; `UNSURE` where the editor may find a way that we do not."""

    NOWHERE = "nowhere"
    UNSURE = "unsure"
    NODE = "node"


@dataclass(frozen=True, slots=True)
class SourceNode:
    """A node that the server gets and that feeds the link, by its path."""

    path: str


@dataclass(frozen=True, slots=True)
class StoredValue:
    """A value that the file itself holds."""

    value: object


InputSource = StoredValue | SourceNode | Literal[LinkEnd.NOWHERE, LinkEnd.UNSURE, LinkEnd.NODE]
"""What feeds an input: a value, a node's output (which node's, where that is known), or nothing (then the stored
widget value counts)."""

_LinkPosition = tuple[GraphScope, LinkId]


def resolve_link(scope: GraphScope, link: LinkId, known: GraphDefinitions) -> InputSource:
    """Say what a link brings to the node at its end.

    Reroutes, Get and Set nodes, bypassed nodes and the borders of subgraphs are followed. A host's own value for
    an input stands in when the way beyond it leads nowhere.
    """
    fallback: InputSource = LinkEnd.NOWHERE
    here: _LinkPosition | InputSource = (scope, link)
    for _ in range(_MAX_HOPS):
        if not isinstance(here, tuple):
            break
        inside, identity = here
        found = inside.graph.links.get(identity)
        if found is None:
            return fallback
        if found.origin == SUBGRAPH_INPUT:
            name = _get_input_name(inside, found.origin_slot)
            if name in inside.promoted:
                fallback = StoredValue(inside.promoted[name])
            here = _step_to_host(inside, name)
        else:
            origin = inside.graph.by_id.get(found.origin)
            if origin is not None and fallback is LinkEnd.NOWHERE and _is_ambiguous(origin):
                fallback = LinkEnd.UNSURE
            here = LinkEnd.NOWHERE if origin is None else _step_through_node(inside, origin, found.origin_slot, known)
    else:
        return LinkEnd.NODE
    return fallback if here is LinkEnd.NOWHERE else here


def _get_input_name(scope: GraphScope, slot: int) -> str:
    return scope.graph.inputs[slot] if 0 <= slot < len(scope.graph.inputs) else ""


def _step_to_host(scope: GraphScope, name: str) -> _LinkPosition | InputSource:
    slot = scope.host.slot(name) if scope.host else None
    if scope.outer is None or slot is None or slot.link is None:
        return LinkEnd.NOWHERE
    return scope.outer, slot.link


def _step_through_node(
    scope: GraphScope, origin: RawNode, output: int, known: GraphDefinitions
) -> _LinkPosition | InputSource:
    if origin.mode == MUTED:
        return LinkEnd.NOWHERE
    if origin.mode == BYPASSED:
        return _step_to_slot(scope, _find_bypass_slot(origin, output))
    if origin.class_type in REROUTES or origin.class_type in SETTERS:
        return _step_to_slot(scope, origin.slots[0] if origin.slots else None)
    if origin.class_type in GETTERS:
        return _step_to_setter(scope, origin)
    if origin.class_type == PRIMITIVE or origin.class_type in TEXT_PRIMITIVES:
        return _read_primitive(scope, origin, known)
    return (
        _step_into_host(scope, origin, output, known) if known.is_host(origin) else SourceNode(scope.prefix + origin.id)
    )


def _is_ambiguous(origin: RawNode) -> bool:
    """Say whether the editor may go on from here by another way than ours: through a type that fits several."""
    if origin.class_type in GETTERS or origin.class_type == PRIMITIVE:
        return True
    outputs = origin.raw.get("outputs")
    given = [slot.get("type") for slot in outputs if isinstance(slot, dict)] if isinstance(outputs, list) else []
    kinds = [*given, *(slot.type for slot in origin.slots)]
    return origin.mode == BYPASSED and any(not isinstance(kind, str) or kind in _ANY or "," in kind for kind in kinds)


def _step_to_slot(scope: GraphScope, slot: InputSlot | None) -> _LinkPosition | InputSource:
    return LinkEnd.NOWHERE if slot is None or slot.link is None else (scope, slot.link)


def _find_bypass_slot(node: RawNode, output: int) -> InputSlot | None:
    # The editor takes the input at the output's own place if the types agree, else the first of the same type.
    outputs = node.raw.get("outputs")
    listed = outputs if isinstance(outputs, list) else []
    declared = listed[output] if 0 <= output < len(listed) else None
    wanted = declared.get("type") if isinstance(declared, dict) else None
    slots = ([node.slots[output]] if 0 <= output < len(node.slots) else []) + list(node.slots)
    return next((slot for slot in slots if slot.type == wanted), None)


def _step_to_setter(scope: GraphScope, getter: RawNode) -> _LinkPosition | InputSource:
    name = get_first_text(getter.raw)
    for around in scope.iterate_outward():
        setter = around.graph.setters.get(name) if name else None
        if setter is not None:
            return _step_to_slot(around, setter.slots[0] if setter.slots else None)
    return LinkEnd.NOWHERE


def _read_primitive(scope: GraphScope, node: RawNode, known: GraphDefinitions) -> _LinkPosition | InputSource:
    slot = node.slot("value")
    if slot is not None and slot.link is not None:
        return scope, slot.link
    given = scope.overrides.get(node.id)
    if given:
        return StoredValue(next(iter(given.values())))
    stored = read_stored_widgets(node, known.table, path="", problems=[])
    values = stored.by_place or list(stored.by_name.values())
    return StoredValue(values[0]) if values and values[0] is not None else LinkEnd.NOWHERE


def _step_into_host(
    scope: GraphScope, host: RawNode, output: int, known: GraphDefinitions
) -> _LinkPosition | InputSource:
    inside = known.enter_host(scope, host)
    outputs = inside.graph.outputs if inside else ()
    link = outputs[output] if 0 <= output < len(outputs) else None
    return LinkEnd.NODE if inside is None or link is None else (inside, link)
