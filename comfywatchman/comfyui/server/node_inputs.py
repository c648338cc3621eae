"""The inputs of a node class, as an entry of `/object_info` lists them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from comfywatchman.base.json_values import as_list, as_mapping
from comfywatchman.comfyui.static_analysis.widgets import COMBO_TYPES

UNKNOWN_TYPE: Final = "COMFY_UNKNOWN"
"""Type of an input whose specification has an unknown shape; ComfyUI's own dynamic types begin with `COMFY_` too."""

_GROUPS: Final = ("required", "optional")


@dataclass(frozen=True, slots=True)
class NodeInput:
    """One input of a node class.

    Attributes:
        name: Its name.
        type: Its type (`MODEL`, `INT`); `COMBO` for every list of choices in the older notation.
        options: Everything that the class states beside the type.
        is_required: Whether it is one of the required inputs.
        choices: The choices of a combo as the server sent them; None for any other type.
        is_legacy_combo: Whether the choices stand in place of the type (`[["a", "b"], {}]`).
    """

    name: str
    type: str
    options: Mapping[str, Any]
    is_required: bool
    choices: Any = None
    is_legacy_combo: bool = False


def list_node_inputs(entry: object) -> Iterator[NodeInput]:
    """Yield the inputs of a class in the editor's order; nothing for an entry of an unknown shape."""
    groups = as_mapping(as_mapping(entry).get("input"))
    order = as_mapping(as_mapping(entry).get("input_order"))
    for group in _GROUPS:
        inputs = as_mapping(groups.get(group))
        # Servers that send `input_order` do not rely on the order of a JSON object.
        names = order.get(group)
        if not isinstance(names, list):
            names = list(inputs)
        for name in names:
            if isinstance(name, str) and name in inputs:
                yield _parse_specification(name, inputs[name], is_required=group == "required")


def _parse_specification(name: str, specification: Any, *, is_required: bool) -> NodeInput:
    """Read either notation: `[["a", "b"], {…}]` or `["COMBO", {"options": ["a", "b"], …}]`."""
    input_type, raw_options, *_others = [*as_list(specification), None, None]
    options = as_mapping(raw_options)
    if isinstance(input_type, list):
        return NodeInput(name, "COMBO", options, is_required, choices=input_type, is_legacy_combo=True)
    if not isinstance(input_type, str):
        return NodeInput(name, UNKNOWN_TYPE, options, is_required)
    if input_type in COMBO_TYPES:
        return NodeInput(name, input_type, options, is_required, choices=options.get("options"))
    return NodeInput(name, input_type, options, is_required)
