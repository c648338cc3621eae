"""What a running server refuses in a prompt beside missing models and classes, from what it says of its nodes.

As ComfyUI 0.3.75 and 0.33.0 do it (`execution.validate_prompt`): a prompt needs an output node, and every node that
leads to one must have its required inputs and, in lists, values that the list holds. A node that checks an input by a
function of its own is left alone there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from comfywatchman.comfyui.loaders.upload_inputs import BUILTIN_FILE_INPUTS
from comfywatchman.comfyui.packs.core_classes import parse_version
from comfywatchman.comfyui.server.active_nodes import WiredNode
from comfywatchman.comfyui.static_analysis.widgets import is_socket, widget_width

_CORE_MODULES: Final = ("nodes", "comfy_extras", "comfy_api_nodes")
_DYNAMIC_OPTIONS: Final = ("remote", "multi_select", "multiselect", "dynamic")
_CHECKS_NEW_LISTS_SINCE: Final = (0, 33)
"""Lists in the newer notation (`"COMBO"`) are not checked by ComfyUI 0.3.75, and are by 0.33."""
_EDITOR_TYPE_PREFIX: Final = "COMFY_"


class ValidationRules(msgspec.Struct, frozen=True):
    """What a server says of its classes that decides whether it takes a prompt.

    Attributes:
        outputs: Whether a class is an output, by class; without those of which it does not say so.
        core: Classes that come with ComfyUI itself.
        required: By class the inputs that have to be given, with whether only a link can give them. Those that the
            editor expands into several are left out.
        lists: By class the inputs whose text has to stand in a list that is the same for everybody and not empty.
        places: Where the values of those inputs stand among the editor's widget values, and their count under the
            name ``""``; without classes of which that cannot be told.
    """

    outputs: dict[str, bool] = {}
    core: frozenset[str] = frozenset()
    required: dict[str, dict[str, bool]] = {}
    lists: dict[str, dict[str, tuple[str, ...]]] = {}
    places: dict[str, dict[str, int]] = {}


NO_RULES: Final = ValidationRules()


@dataclass(frozen=True, slots=True)
class RejectedInput:
    """One input for which a server refuses a prompt.

    Attributes:
        node: The node.
        input: Its input.
        value: What the workflow gives; None for an input that gets nothing.
        offered: What the server would take; empty for an input that gets nothing.
    """

    node: WiredNode
    input: str
    value: str | None
    offered: tuple[str, ...] = ()


def read_rules(payload: object, version: str | None) -> ValidationRules:
    """Read an answer to `/object_info`; what is of an unknown shape gives no rule.

    Args:
        payload: The parsed answer.
        version: The server's version; older ones do not check every kind of list.
    """
    entries = payload if isinstance(payload, dict) else {}
    checks_all = (parse_version(version) or ()) >= _CHECKS_NEW_LISTS_SINCE
    outputs, core = {}, set()
    required: dict[str, dict[str, bool]] = {}
    lists: dict[str, dict[str, tuple[str, ...]]] = {}
    places: dict[str, dict[str, int]] = {}
    for name, entry in entries.items():
        if not isinstance(entry, dict):
            continue
        if isinstance(entry.get("output_node"), bool):
            outputs[name] = entry["output_node"]
        if str(entry.get("python_module")).partition(".")[0] in _CORE_MODULES:
            core.add(name)
        for group, one, kind, options in _list_inputs(entry):
            if group == "required" and isinstance(kind, (str, list)) and not str(kind).startswith(_EDITOR_TYPE_PREFIX):
                required.setdefault(name, {})[one] = isinstance(kind, str) and is_socket(kind, options)
            choices = _get_fixed_choices(kind, options)
            if choices and (checks_all or isinstance(kind, list)) and not BUILTIN_FILE_INPUTS.has_input(name, one):
                lists.setdefault(name, {})[one] = choices
        if name in lists and (found := _find_widget_indexes(entry, lists[name])) is not None:
            places[name] = found
    return ValidationRules(outputs, frozenset(core), required, lists, places)


def _find_widget_indexes(entry: Mapping[str, Any], wanted: Collection[str]) -> dict[str, int] | None:
    found: dict[str, int] = {}
    place = 0
    for _, name, kind, options in _list_inputs(entry):
        if name in wanted:
            found[name] = place
        width = widget_width(name, kind if isinstance(kind, str) else "COMBO", options)
        if width is None:
            return None
        place += width
    return {**found, "": place}


def has_no_output(nodes: Collection[WiredNode], rules: ValidationRules) -> bool:
    """Say whether surely none of the nodes is an output; a class of which that is not known may be one."""
    return bool(nodes) and all(rules.outputs.get(node.class_type) is False for node in nodes)


@dataclass(frozen=True, slots=True)
class PromptValidation:
    """What a server refuses of one workflow.

    Attributes:
        inputs: The inputs, in the order of their nodes; only what is certain.
        is_whole: No output is left that it would run; else it runs the others and leaves these out.
    """

    inputs: tuple[RejectedInput, ...] = ()
    is_whole: bool = False


NOTHING_REJECTED: Final = PromptValidation()


def keep_server_checked_lists(rules: ValidationRules, lets_server_check: Collection[str]) -> ValidationRules:
    """Return rules whose lists are only those of classes that leave all checks to the server.

    Args:
        rules: What the server says; it does not say which classes check inputs by a function of their own.
        lets_server_check: Classes of which it is known that they do not.
    """
    lists = {name: inputs for name, inputs in rules.lists.items() if name in lets_server_check}
    return msgspec.structs.replace(rules, lists=lists)


def validate_prompt(nodes: Iterable[WiredNode], rules: ValidationRules) -> PromptValidation:
    """Return what the server would refuse.

    An input that the editor's file leaves open counts only where all nodes are ComfyUI's own: extensions of the
    editor feed inputs without a link when the workflow is sent.

    Nothing is said of a workflow with classes that the server does not list.
    """
    by_path = {node.path: node for node in nodes}
    only_own = all(node.class_type in rules.core for node in by_path.values())
    wrong: dict[str, list[RejectedInput]] = {}
    for path, node in by_path.items():
        if node.class_type not in rules.outputs:
            return NOTHING_REJECTED
        found = [RejectedInput(node, name, None) for name in _find_missing_inputs(node, rules, only_own=only_own)]
        found += _find_invalid_choices(node, rules)
        if found:
            wrong[path] = found
    if not wrong:
        return NOTHING_REJECTED
    outputs = [path for path, node in by_path.items() if rules.outputs.get(node.class_type)]
    asked = [_collect_ancestors(output, by_path) for output in outputs]
    return PromptValidation(
        inputs=tuple(one for path, found in wrong.items() if any(path in paths for paths in asked) for one in found),
        is_whole=bool(outputs) and all(not paths.isdisjoint(wrong) for paths in asked),
    )


def _find_invalid_choices(node: WiredNode, rules: ValidationRules) -> Iterator[RejectedInput]:
    places = rules.places.get(node.class_type, {}) if node.places else {}
    for name, offered in rules.lists.get(node.class_type, {}).items():
        value = node.texts.get(name)
        if node.places:
            is_told = name not in node.fed and places.get("") == node.places
            value = node.texts.get(f"#{places[name]}") if is_told else None
        if value is not None and value not in offered:
            yield RejectedInput(node, name, value, offered)


def _find_missing_inputs(node: WiredNode, rules: ValidationRules, *, only_own: bool) -> Iterator[str]:
    required = rules.required.get(node.class_type, {})
    if node.given is not None:
        yield from (name for name in required if name not in node.given)
    elif only_own:
        yield from (name for name in node.unfed if required.get(name))


def _collect_ancestors(output: str, by_path: Mapping[str, WiredNode]) -> set[str]:
    """Return the paths of an output and of all nodes that lead to it."""
    seen, waiting = {output}, [output]
    while waiting:
        new = [path for path in by_path[waiting.pop()].sources if path in by_path and path not in seen]
        seen.update(new)
        waiting += new
    return seen


def _list_inputs(entry: Mapping[str, Any]) -> Iterator[tuple[str, str, Any, Mapping[str, Any]]]:
    """Yield group, name, type and options of each input, in the editor's order."""
    groups, order = entry.get("input"), entry.get("input_order")
    for group in ("required", "optional"):
        inputs = groups.get(group) if isinstance(groups, dict) else None
        if not isinstance(inputs, dict):
            continue
        names = order.get(group) if isinstance(order, dict) else None
        for name in names if isinstance(names, list) else inputs:
            spec = inputs.get(name) if isinstance(name, str) else None
            if isinstance(spec, list) and spec:
                yield group, name, spec[0], spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}


def _get_fixed_choices(kind: Any, options: Mapping[str, Any]) -> tuple[str, ...]:
    choices = kind if isinstance(kind, list) else options.get("options") if kind == "COMBO" else None
    if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
        return ()
    if any(options.get(mark) for mark in _DYNAMIC_OPTIONS) or any(mark.endswith("upload") for mark in options):
        return ()
    return tuple(choices)
