"""Checks of a workflow against what a running ComfyUI offers, before it is queued. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from comfywatchman.base.errors import Failure
from comfywatchman.base.text import shorten_list
from comfywatchman.comfyui.models.suffixes import MODEL_SUFFIXES, get_suffix
from comfywatchman.comfyui.server.object_info import read_object_info
from comfywatchman.comfyui.server.prompts import Prompt
from comfywatchman.handler.request import RequestInput

_SHOWN: Final = 5


def check_workflow(workflow: Prompt, object_info: Mapping[str, object]) -> None:
    """Refuse a workflow whose node classes or models the server does not have.

    Args:
        workflow: The workflow in API format.
        object_info: The server's answer to `/object_info`.

    Raises:
        Failure: `handler-nodes-missing` or `handler-models-missing`; the facts hold all names.
    """
    used = {node["class_type"] for node in workflow.values()}
    unknown = sorted(used - object_info.keys())
    if unknown:
        raise Failure(
            "handler-nodes-missing",
            f"ComfyUI has no node class {shorten_list([ascii(name) for name in unknown], most=_SHOWN)}.",
            hint="Install the node packs of these classes, and restart ComfyUI.",
            facts={"node_types": unknown},
        )
    # Only the classes in use: the whole answer describes thousands.
    offered = read_object_info({name: object_info[name] for name in used}, {}, version=None)
    missing = sorted(set(_find_missing_models(workflow, offered.combos)))
    if missing:
        names = [ascii(name) for _class, _input, name in missing]
        raise Failure(
            "handler-models-missing",
            f"ComfyUI does not list the model {shorten_list(names, most=_SHOWN)}.",
            hint="Put the models into ComfyUI's model folders: comfywatchman explain WORKFLOW names their sources.",
            facts={"models": [{"class_type": kind, "input": name, "name": value} for kind, name, value in missing]},
        )


def find_unused_inputs(workflow: Prompt, inputs: tuple[RequestInput, ...]) -> tuple[str, ...]:
    """Return the names of inputs that no node of a workflow uses."""
    values = {value for node in workflow.values() for value in node["inputs"].values() if isinstance(value, str)}
    return tuple(item.name for item in inputs if item.name not in values)


def replace_input_names(workflow: Prompt, names: Mapping[str, str]) -> Prompt:
    """Return a copy of a workflow with the names of inputs replaced by those that ComfyUI gave them.

    Args:
        workflow: The workflow.
        names: ComfyUI's name by the name in the request.
    """
    changed: Prompt = {}
    for node_id, node in workflow.items():
        inputs = {
            name: names.get(value, value) if isinstance(value, str) else value for name, value in node["inputs"].items()
        }
        changed[node_id] = {**node, "inputs": inputs}
    return changed


def _find_missing_models(
    workflow: Prompt, combos: Mapping[str, Mapping[str, tuple[str, ...]]]
) -> Iterator[tuple[str, str, str]]:
    """Yield the class, the input and the name of each model that is not among the choices of its input."""
    for node in workflow.values():
        class_type = node["class_type"]
        for name, choices in combos.get(class_type, {}).items():
            value = node["inputs"].get(name)
            is_model = isinstance(value, str) and get_suffix(value) in MODEL_SUFFIXES
            if is_model and value not in choices:
                yield class_type, name, value
