"""Read signatures of node classes from the answer of a running ComfyUI to `/object_info`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from comfywatchman.base.json_values import as_list, as_mapping
from comfywatchman.comfyui.loaders.upload_inputs import BUILTIN_FILE_INPUTS
from comfywatchman.comfyui.server.node_inputs import NodeInput, list_node_inputs
from comfywatchman.comfyui.static_analysis.widgets import is_link_forced, is_socket, widget_width
from comfywatchman.comfyui.validation.signature import (
    InputExpansion,
    InputSignature,
    NodeSignature,
    Scalar,
    build_grown_names,
    build_list_type,
    grow_inputs,
    has_fixed_choices,
    is_dynamic_type,
    read_limit,
)

_CORE_MODULES: Final = ("nodes", "comfy_extras", "comfy_api_nodes")
_DYNAMIC_COMBO: Final = "COMFY_DYNAMICCOMBO_V3"
_GROWING: Final = "COMFY_AUTOGROW_V3"


def read_signatures(payload: object) -> dict[str, NodeSignature]:
    """Return the signature of each class; parts of an unknown shape are left unknown.

    The answer does not tell which inputs a class checks itself, so `own_checks` is None.
    """
    signatures: dict[str, NodeSignature] = {}
    for class_type, entry in as_mapping(payload).items():
        if isinstance(entry, dict):
            signatures[class_type] = _read_signature(class_type, entry)
    return signatures


def _read_signature(class_type: str, entry: Mapping[str, Any]) -> NodeSignature:
    is_output = entry.get("output_node")
    is_core = str(entry.get("python_module")).partition(".")[0] in _CORE_MODULES
    return NodeSignature(
        inputs=tuple(_read_input(class_type, node_input) for node_input in list_node_inputs(entry)),
        has_all_inputs=isinstance(entry.get("input"), dict),
        outputs=_read_outputs(entry.get("output")),
        is_output=is_output if isinstance(is_output, bool) else None,
        is_core=is_core,
        has_plain_types=is_core,
        has_editor_code=not is_core,
    )


def _read_outputs(outputs: object) -> tuple[str | None, ...] | None:
    if not isinstance(outputs, list):
        return None
    return tuple(_name_type(output) for output in outputs)


def _name_type(data_type: object) -> str | None:
    """Return a type as signatures write it; a list becomes a digest, so that equal lists are equal types."""
    if isinstance(data_type, list):
        return build_list_type(data_type)
    return data_type if isinstance(data_type, str) else None


def _read_input(class_type: str, node_input: NodeInput) -> InputSignature:
    name, options = node_input.name, node_input.options
    input_type: str | None = node_input.type
    if node_input.is_legacy_combo:
        input_type = _name_type(node_input.choices)
    is_file = BUILTIN_FILE_INPUTS.has_input(class_type, name)
    is_expanded = node_input.type in (_DYNAMIC_COMBO, _GROWING)
    is_dynamic = is_dynamic_type(node_input.type)
    if is_dynamic:
        input_type = None
    return InputSignature(
        name=name,
        type=input_type,
        is_required=node_input.is_required and not is_dynamic,
        is_socket=not node_input.is_legacy_combo and is_socket(node_input.type, options),
        width=widget_width(name, node_input.type, options),
        is_forced=is_link_forced(options),
        is_file=is_file,
        minimum=read_limit(options.get("min")),
        maximum=read_limit(options.get("max")),
        # Lists of the input folder change with every upload; the server checks them against the files.
        choices=None if is_file else _read_choices(node_input),
        expansion=_read_expansion(class_type, node_input) if is_expanded else None,
    )


def _read_choices(node_input: NodeInput) -> tuple[Scalar, ...] | None:
    """Return the choices that are the same for every user and moment; None for every other input."""
    choices, options = node_input.choices, node_input.options
    if node_input.type != "COMBO" or not isinstance(choices, list):
        return None
    if not all(isinstance(choice, str | int | float | None) for choice in choices):
        return None
    return tuple(choices) if has_fixed_choices(options) else None


def _read_expansion(class_type: str, node_input: NodeInput) -> InputExpansion:
    if node_input.type == _GROWING:
        return _read_grown(class_type, as_mapping(node_input.options.get("template")))
    variants: dict[str, tuple[InputSignature, ...]] = {}
    for option in map(as_mapping, as_list(node_input.options.get("options"))):
        key = option.get("key")
        if isinstance(key, str):
            variants[key] = tuple(_read_nested(class_type, option.get("inputs")))
    return InputExpansion(variants=variants)


def _read_nested(class_type: str, groups: object) -> Iterable[InputSignature]:
    return (_read_input(class_type, node_input) for node_input in list_node_inputs({"input": groups}))


def _read_grown(class_type: str, template: Mapping[str, Any]) -> InputExpansion:
    """Return the inputs that a growing input can grow to: the first `min` of them are required."""
    template_input = next(iter(_read_nested(class_type, template.get("input"))), None)
    names = template.get("names")
    count, minimum = template.get("max"), template.get("min")
    if not isinstance(names, list) and isinstance(count, int):
        names = build_grown_names(template.get("prefix"), count)
    if template_input is None or not isinstance(names, list) or not isinstance(minimum, int):
        return InputExpansion()
    return grow_inputs(template_input, [str(name) for name in names], minimum)
