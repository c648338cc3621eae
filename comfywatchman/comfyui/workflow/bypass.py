"""Which input a bypassed node passes on to one of its outputs, as the editor chooses it."""

from __future__ import annotations

from typing import Final

from comfywatchman.base.json_values import as_list, as_mapping, as_text
from comfywatchman.comfyui.workflow.graph import InputSlot, RawNode, get_item

_ANY_TYPE: Final = ("", "*")


def find_bypassed_input(node: RawNode, output: int, wanted: str) -> InputSlot | None:
    """Return the input whose source takes the place of an output; None if no type matches.

    As `ExecutableNodeDTO._getBypassSlotIndex` of the editor (frontend 1.58.1).

    Args:
        node: The bypassed node.
        output: Number of the output.
        wanted: Type of the input at the end of the link, not of the output.
    """
    same_position = get_item(node.slots, output)
    if wanted in _ANY_TYPE:
        return same_position or get_item(node.slots, 0)
    output_type = get_output_type(node, output) or ""
    matching = [slot for slot in node.slots if can_connect(slot.type, output_type) and can_connect(slot.type, wanted)]
    if same_position in matching:
        return same_position
    for slot in node.slots:
        if slot.type == wanted:
            return slot
    return matching[0] if matching else None


def has_unknown_type(node: RawNode, output: int, wanted: str) -> bool:
    """Return whether the choice depends on a type that the file does not give: the installed class then decides."""
    return not wanted or not get_output_type(node, output) or not all(slot.type for slot in node.slots)


def get_output_type(node: RawNode, output: int) -> str | None:
    """Return the type of an output; None where the file does not give it."""
    return as_text(as_mapping(get_item(as_list(node.raw.get("outputs")), output)).get("type"))


def can_connect(type_a: str, type_b: str) -> bool:
    """Return whether the editor connects two types; a list of types is written as `A,B`."""
    if type_a in _ANY_TYPE or type_b in _ANY_TYPE:
        return True
    parts_a, parts_b = (set(data_type.lower().split(",")) for data_type in (type_a, type_b))
    return not parts_a.isdisjoint(parts_b) or not {*parts_a, *parts_b}.isdisjoint(_ANY_TYPE)
