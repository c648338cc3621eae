"""Predict which prompts a running server refuses, beside those with missing models and classes.

As in ComfyUI 0.3.75 and 0.33.0 (`execution.validate_prompt`), a prompt needs an output node, and every node that leads
to one needs its required inputs and, for combos, a value that is one of the choices. The server does not check an
input for which the class has a function of its own (`VALIDATE_INPUTS`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from comfywatchman.base.json_values import as_mapping
from comfywatchman.comfyui.loaders.upload_inputs import BUILTIN_FILE_INPUTS
from comfywatchman.comfyui.packs.core_classes import parse_version
from comfywatchman.comfyui.server.active_nodes import WiredNode
from comfywatchman.comfyui.server.node_inputs import NodeInput, list_node_inputs
from comfywatchman.comfyui.static_analysis.widgets import is_socket, widget_width

_CORE_MODULES: Final = ("nodes", "comfy_extras", "comfy_api_nodes")
_DYNAMIC_OPTIONS: Final = ("remote", "multi_select", "multiselect", "dynamic")
_CHECKS_NEW_LISTS_SINCE: Final = (0, 33)
"""Combos in the newer notation (`"COMBO"`) are not checked by ComfyUI 0.3.75, and are by 0.33."""

_EDITOR_TYPE_PREFIX: Final = "COMFY_"
"""Begins the types of inputs that the editor expands into several, and of inputs whose type could not be read."""

_COUNT: Final = ""
"""The key in `ValidationRules.places` that holds the number of widget values."""


class ValidationRules(msgspec.Struct, frozen=True):
    """The facts about a server's classes that decide whether it takes a prompt.

    Attributes:
        outputs: Whether a class is an output node, by class; without classes for which the server does not state it.
        core: Classes that come with ComfyUI itself.
        required: Required inputs by class, with whether only a link can feed them; without inputs that the editor
            expands into several.
        lists: Choices by class and input, of combos whose choices are the same for every user.
        places: Widget indexes of those inputs by class, and the number of all widget values under the name ``""``;
            without classes that have inputs of unknown width.
    """

    outputs: dict[str, bool] = {}
    core: frozenset[str] = frozenset()
    required: dict[str, dict[str, bool]] = {}
    lists: dict[str, dict[str, tuple[str, ...]]] = {}
    places: dict[str, dict[str, int]] = {}


NO_RULES: Final = ValidationRules()


@dataclass(frozen=True, slots=True)
class RejectedInput:
    """An input for which a server refuses a prompt.

    Attributes:
        node: The node.
        input: Name of its input.
        value: The workflow's value; None for a required input without one.
        offered: The choices of the server; empty for a required input without a value.
    """

    node: WiredNode
    input: str
    value: str | None
    offered: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PromptValidation:
    """The predicted result of a server's validation.

    Attributes:
        inputs: Rejected inputs in the order of their nodes; only certain ones.
        is_whole: Whether the whole prompt is refused; otherwise the server runs the outputs without rejected inputs.
    """

    inputs: tuple[RejectedInput, ...] = ()
    is_whole: bool = False


NOTHING_REJECTED: Final = PromptValidation()


def read_rules(payload: object, version: str | None) -> ValidationRules:
    """Read the rules from an answer to `/object_info`; parts of an unknown shape give no rule.

    Args:
        payload: The parsed answer.
        version: The server's version; older ones do not check every kind of combo.
    """
    entries = as_mapping(payload)
    checks_new_lists = (parse_version(version) or ()) >= _CHECKS_NEW_LISTS_SINCE
    outputs: dict[str, bool] = {}
    core: set[str] = set()
    required: dict[str, dict[str, bool]] = {}
    lists: dict[str, dict[str, tuple[str, ...]]] = {}
    places: dict[str, dict[str, int]] = {}
    for class_type, entry in entries.items():
        if not isinstance(entry, dict):
            continue
        if isinstance(entry.get("output_node"), bool):
            outputs[class_type] = entry["output_node"]
        if _is_core(entry):
            core.add(class_type)
        inputs = list(list_node_inputs(entry))
        class_required = _read_required(inputs)
        if class_required:
            required[class_type] = class_required
        class_lists = _read_lists(class_type, inputs, checks_new_lists=checks_new_lists)
        if class_lists:
            lists[class_type] = class_lists
            class_places = _find_widget_indexes(inputs, class_lists)
            if class_places is not None:
                places[class_type] = class_places
    return ValidationRules(outputs, frozenset(core), required, lists, places)


def _is_core(entry: Mapping[str, Any]) -> bool:
    top_module = str(entry.get("python_module")).partition(".")[0]
    return top_module in _CORE_MODULES


def _read_required(inputs: Iterable[NodeInput]) -> dict[str, bool]:
    required: dict[str, bool] = {}
    for node_input in inputs:
        if node_input.is_required and not node_input.type.startswith(_EDITOR_TYPE_PREFIX):
            is_combo = node_input.is_legacy_combo
            required[node_input.name] = not is_combo and is_socket(node_input.type, node_input.options)
    return required


def _read_lists(class_type: str, inputs: Iterable[NodeInput], *, checks_new_lists: bool) -> dict[str, tuple[str, ...]]:
    lists: dict[str, tuple[str, ...]] = {}
    for node_input in inputs:
        choices = _get_fixed_choices(node_input)
        is_checked = checks_new_lists or node_input.is_legacy_combo
        # Lists of the input folder change with every upload; the server checks them against the files.
        if choices and is_checked and not BUILTIN_FILE_INPUTS.has_input(class_type, node_input.name):
            lists[node_input.name] = choices
    return lists


def _get_fixed_choices(node_input: NodeInput) -> tuple[str, ...]:
    """Return the choices that are the same for every user and moment; empty for every other input."""
    choices, options = node_input.choices, node_input.options
    if node_input.type != "COMBO" or not isinstance(choices, list):
        return ()
    if not all(isinstance(choice, str) for choice in choices):
        return ()
    is_dynamic = any(options.get(option) for option in _DYNAMIC_OPTIONS)
    has_upload = any(option.endswith("upload") for option in options)
    if is_dynamic or has_upload:
        return ()
    return tuple(choices)


def _find_widget_indexes(inputs: Iterable[NodeInput], wanted: Collection[str]) -> dict[str, int] | None:
    """Return the widget indexes of some inputs and the count of all; None if an input's width is unknown."""
    indexes: dict[str, int] = {}
    index = 0
    for node_input in inputs:
        if node_input.name in wanted:
            indexes[node_input.name] = index
        width = widget_width(node_input.name, node_input.type, node_input.options)
        if width is None:
            return None
        index += width
    indexes[_COUNT] = index
    return indexes


def has_no_output(nodes: Collection[WiredNode], rules: ValidationRules) -> bool:
    """Return whether certainly none of the nodes is an output; a class without that information may be one."""
    return bool(nodes) and all(rules.outputs.get(node.class_type) is False for node in nodes)


def keep_server_checked_lists(rules: ValidationRules, lets_server_check: Collection[str]) -> ValidationRules:
    """Return rules with the lists of only those classes that leave all checks to the server.

    Args:
        rules: The rules; `/object_info` does not tell which classes check inputs by a function of their own.
        lets_server_check: Classes that certainly do not.
    """
    lists = {class_type: inputs for class_type, inputs in rules.lists.items() if class_type in lets_server_check}
    return msgspec.structs.replace(rules, lists=lists)


def validate_prompt(nodes: Iterable[WiredNode], rules: ValidationRules) -> PromptValidation:
    """Return the inputs that the server would reject; none for a workflow with a class that it does not list.

    An input that the editor's file leaves open counts only if all nodes are ComfyUI's own: extensions of the editor
    feed inputs without a link when the workflow is sent.
    """
    by_path = {node.path: node for node in nodes}
    if any(node.class_type not in rules.outputs for node in by_path.values()):
        return NOTHING_REJECTED
    is_core_only = all(node.class_type in rules.core for node in by_path.values())
    rejected: dict[str, list[RejectedInput]] = {}
    for path, node in by_path.items():
        node_rejected = [
            *_find_missing_inputs(node, rules, is_core_only=is_core_only),
            *_find_invalid_choices(node, rules),
        ]
        if node_rejected:
            rejected[path] = node_rejected
    if not rejected:
        return NOTHING_REJECTED

    # The server validates only what leads to an output.
    validated: set[str] = set()
    refused_outputs = 0
    outputs = [path for path, node in by_path.items() if rules.outputs[node.class_type]]
    for output in outputs:
        ancestors = _collect_ancestors(output, by_path)
        validated |= ancestors
        refused_outputs += not ancestors.isdisjoint(rejected)
    inputs: list[RejectedInput] = []
    for path, node_rejected in rejected.items():
        if path in validated:
            inputs += node_rejected
    return PromptValidation(tuple(inputs), is_whole=bool(outputs) and refused_outputs == len(outputs))


def _find_missing_inputs(node: WiredNode, rules: ValidationRules, *, is_core_only: bool) -> Iterator[RejectedInput]:
    required = rules.required.get(node.class_type, {})
    names: list[str] = []
    if node.given is not None:
        names = [name for name in required if name not in node.given]
    elif is_core_only:
        # The editor fills in every widget, so only an input that needs a link can be missing.
        names = [name for name in node.unfed if required.get(name)]
    for name in names:
        yield RejectedInput(node, name, None)


def _find_invalid_choices(node: WiredNode, rules: ValidationRules) -> Iterator[RejectedInput]:
    places = rules.places.get(node.class_type, {})
    for name, offered in rules.lists.get(node.class_type, {}).items():
        value = node.texts.get(name)
        # Values without names can be told apart only if their number is the expected one.
        if node.places and name not in node.fed and places.get(_COUNT) == node.places:
            value = node.texts.get(f"#{places[name]}")
        if value is not None and value not in offered:
            yield RejectedInput(node, name, value, offered)


def _collect_ancestors(output: str, by_path: Mapping[str, WiredNode]) -> set[str]:
    """Return the paths of an output and of all nodes that lead to it."""
    seen, waiting = {output}, [output]
    while waiting:
        for source in by_path[waiting.pop()].sources:
            if source in by_path and source not in seen:
                seen.add(source)
                waiting.append(source)
    return seen
