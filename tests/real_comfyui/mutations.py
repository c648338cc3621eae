"""Accepted workflows with one defect each, as prompts and as files of the editor."""

from __future__ import annotations

import copy
import random
from typing import TYPE_CHECKING, Any, Final

from comfywatchman.comfyui.server.node_inputs import list_node_inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from comfywatchman.comfyui.server.node_inputs import NodeInput
    from tests.real_comfyui.editor import Editor

Json = dict[str, Any]

NOT_OFFERED: Final = "zz_not_offered"
NOWHERE: Final = "99999"


class Classes:
    """The classes of one server."""

    def __init__(self, classes: Mapping[str, Any]) -> None:
        """Take the server's answer to `/object_info`."""
        self._entries = classes
        self._inputs = {name: {one.name: one for one in list_node_inputs(entry)} for name, entry in classes.items()}

    def inputs(self, node: Json) -> dict[str, NodeInput]:
        return self._inputs.get(node["class_type"], {})

    def outputs(self, node: Json) -> list[str]:
        return [str(one) for one in self._entries[node["class_type"]]["output"]]

    def is_output(self, node: Json) -> bool:
        return bool(self._entries[node["class_type"]]["output_node"])


Place = tuple[str, str]
"""Node and input."""

Change = tuple[Place, Any]
"""A value to put at a place; `DELETE` removes the input."""

DELETE: Final = object()


def _literals(prompt: Json, known: Classes, types: set[str]) -> Iterator[tuple[Place, NodeInput]]:
    for path, node in prompt.items():
        for name, one in known.inputs(node).items():
            if one.type in types and name in node["inputs"] and not isinstance(node["inputs"][name], list):
                yield (path, name), one


def _links(prompt: Json, known: Classes) -> Iterator[tuple[Place, NodeInput]]:
    for path, node in prompt.items():
        for name, one in known.inputs(node).items():
            if isinstance(node["inputs"].get(name), list):
                yield (path, name), one


def _choices(prompt: Json, known: Classes) -> Iterator[Change]:
    return ((place, NOT_OFFERED) for place, one in _literals(prompt, known, {"COMBO"}) if not _is_upload(one))


def _is_upload(one: NodeInput) -> bool:
    """Return whether an input names a file that the user brings: those count only where the configuration says so."""
    return any(option.endswith("upload") for option in one.options)


def _text(prompt: Json, known: Classes) -> Iterator[Change]:
    return ((place, "many") for place, _ in _literals(prompt, known, {"INT", "FLOAT"}))


def _numeric_text(prompt: Json, known: Classes) -> Iterator[Change]:
    for (path, name), _ in _literals(prompt, known, {"INT", "FLOAT"}):
        yield (path, name), f" {prompt[path]['inputs'][name]} "


def _too_small(prompt: Json, known: Classes) -> Iterator[Change]:
    for place, one in _literals(prompt, known, {"INT", "FLOAT"}):
        if "min" in one.options:
            yield place, one.options["min"] - 1


def _too_large(prompt: Json, known: Classes) -> Iterator[Change]:
    for place, one in _literals(prompt, known, {"INT", "FLOAT"}):
        if "max" in one.options:
            yield place, one.options["max"] + 1


def _null(prompt: Json, known: Classes) -> Iterator[Change]:
    return ((place, None) for place, _ in _literals(prompt, known, {"INT", "FLOAT", "COMBO"}))


def _no_such_slot(prompt: Json, known: Classes) -> Iterator[Change]:
    for (path, name), _ in _links(prompt, known):
        yield (path, name), [prompt[path]["inputs"][name][0], 99]


def _no_such_node(prompt: Json, known: Classes) -> Iterator[Change]:
    return ((place, [NOWHERE, 0]) for place, _ in _links(prompt, known))


def _no_link(prompt: Json, known: Classes) -> Iterator[Change]:
    return ((place, [1, 2, 3]) for place, _ in _links(prompt, known))


def _wrong_type(prompt: Json, known: Classes) -> Iterator[Change]:
    for place, one in _links(prompt, known):
        for path, node in prompt.items():
            for slot, given in enumerate(known.outputs(node)):
                if given != one.type and path != place[0]:
                    yield place, [path, slot]
                    break


def _cycle(prompt: Json, known: Classes) -> Iterator[Change]:
    for (path, name), one in _links(prompt, known):
        outputs = known.outputs(prompt[path])
        if one.type in outputs:
            yield (path, name), [path, outputs.index(one.type)]


def _open(prompt: Json, known: Classes) -> Iterator[Change]:
    for (path, name), one in [*_links(prompt, known), *_literals(prompt, known, {"INT", "FLOAT", "COMBO", "STRING"})]:
        if one.is_required:
            yield (path, name), DELETE


def _open_optional(prompt: Json, known: Classes) -> Iterator[Change]:
    return ((place, DELETE) for place, one in _links(prompt, known) if not one.is_required)


CHANGES: Final[dict[str, Callable[[Json, Classes], Iterator[Change]]]] = {
    "combo value not offered": _choices,
    "text for a number": _text,
    "number as text": _numeric_text,
    "number too small": _too_small,
    "number too large": _too_large,
    "null value": _null,
    "no such output slot": _no_such_slot,
    "link to no node": _no_such_node,
    "list that is no link": _no_link,
    "wrong link type": _wrong_type,
    "cycle": _cycle,
    "required input open": _open,
    "optional input open": _open_optional,
}


def mutate_prompts(
    prompts: Mapping[str, Json], known: Classes, *, per_kind: int, chance: random.Random
) -> dict[str, Json]:
    """Return prompts with one defect each, by a name that begins with the kind of the defect.

    Args:
        prompts: Prompts that the server accepts.
        known: The server's classes.
        per_kind: How many of each kind.
        chance: Chooses prompts and places.
    """
    mutants: dict[str, Json] = {}
    names = sorted(prompts)
    for kind, find_changes in CHANGES.items():
        # Without a limit a kind that no prompt has a place for would never end.
        for name in chance.choices(names, k=per_kind * 20):
            changes = list(find_changes(prompts[name], known))
            if not changes or len([one for one in mutants if one.startswith(kind)]) == per_kind:
                continue
            (path, input_name), value = chance.choice(changes)
            mutant = copy.deepcopy(prompts[name])
            if value is DELETE:
                del mutant[path]["inputs"][input_name]
            else:
                mutant[path]["inputs"][input_name] = value
            mutants[f"{kind} - {path.replace(':', '_')} {input_name} - {name}"] = mutant
    for name in chance.sample(names, k=min(per_kind, len(names))):
        kept = {path: node for path, node in prompts[name].items() if not known.is_output(node)}
        if kept:
            mutants[f"no output node - {name}"] = kept
    return mutants


def mutate_files(
    files: Mapping[str, Json], editor: Editor, known: Classes, *, per_kind: int, chance: random.Random
) -> dict[str, Json]:
    """Return files of the editor with one defect each: widget values, links cut or led elsewhere, outputs muted."""
    mutants: dict[str, Json] = {}
    names = sorted(files)
    for kind, change in _FILE_CHANGES.items():
        for name in chance.choices(names, k=per_kind * 20):
            if len([one for one in mutants if one.startswith(kind)]) == per_kind:
                break
            mutant = copy.deepcopy(files[name])
            if change(mutant, editor, known, chance) and _can_send(editor, mutant):
                mutants[f"{kind} - {len(mutants)} - {name}"] = mutant
    return mutants


def _can_send(editor: Editor, workflow: Json) -> bool:
    """Return whether the editor sends it at all: it sends nothing for a circle of nodes that only pass on."""
    try:
        editor.build_prompt(workflow)
    except RecursionError:
        return False
    return True


def _change_value(workflow: Json, editor: Editor, known: Classes, chance: random.Random, find: Any) -> bool:
    places = []
    for node in workflow["nodes"]:
        inputs = known.inputs({"class_type": node["type"]})
        stored = node.get("widgets_values")
        if node.get("mode") in {2, 4} or not isinstance(stored, list):
            continue
        for name, index in editor.widget_positions(node["type"]).items():
            value = find(inputs[name]) if index < len(stored) else None
            if value is not None:
                places.append((node, name, index, value))
    if not places:
        return False
    node, name, index, value = chance.choice(places)
    node["widgets_values"][index] = value
    if name in (node.get("widgets_values_named") or {}):
        node["widgets_values_named"][name] = value
    return True


def _cut_link(workflow: Json, _editor: Editor, _known: Classes, chance: random.Random) -> bool:
    slots = [slot for node in workflow["nodes"] for slot in node.get("inputs") or [] if slot.get("link") is not None]
    if not slots:
        return False
    slot = chance.choice(slots)
    workflow["links"] = [link for link in workflow["links"] if link[0] != slot["link"]]
    slot["link"] = None
    return True


def _lead_elsewhere(workflow: Json, _editor: Editor, _known: Classes, chance: random.Random) -> bool:
    links = [link for link in workflow["links"] if isinstance(link, list)]
    if len(links) < 2:
        return False
    link, other = chance.sample(links, k=2)
    link[1:3] = other[1:3]
    return True


def _lead_to_no_slot(workflow: Json, _editor: Editor, _known: Classes, chance: random.Random) -> bool:
    links = [link for link in workflow["links"] if isinstance(link, list)]
    if not links:
        return False
    chance.choice(links)[2] = 9
    return True


def _mute_outputs(workflow: Json, _editor: Editor, known: Classes, _chance: random.Random) -> bool:
    muted = False
    for node in workflow["nodes"]:
        if known.inputs({"class_type": node["type"]}) and known.is_output({"class_type": node["type"]}):
            node["mode"] = 2
            muted = True
    return muted


def _switch_off(mode: int) -> Any:
    def change(workflow: Json, _editor: Editor, _known: Classes, chance: random.Random) -> bool:
        chance.choice(workflow["nodes"])["mode"] = mode
        return True

    return change


def _value(find: Callable[[NodeInput], Any]) -> Any:
    def change(workflow: Json, editor: Editor, known: Classes, chance: random.Random) -> bool:
        return _change_value(workflow, editor, known, chance, find)

    return change


_FILE_CHANGES: Final[dict[str, Any]] = {
    "file, combo value not offered": _value(
        lambda one: NOT_OFFERED if one.type == "COMBO" and not _is_upload(one) else None
    ),
    "file, text for a number": _value(lambda one: "many" if one.type in {"INT", "FLOAT"} else None),
    "file, number too small": _value(lambda one: one.options["min"] - 1 if "min" in one.options else None),
    "file, number too large": _value(lambda one: one.options["max"] + 1 if "max" in one.options else None),
    "file, link cut": _cut_link,
    "file, link from elsewhere": _lead_elsewhere,
    "file, no such output slot": _lead_to_no_slot,
    "file, outputs muted": _mute_outputs,
    "file, a node muted": _switch_off(2),
    "file, a node bypassed": _switch_off(4),
}
