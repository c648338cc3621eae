"""The prompt that the editor or an API client sends for a workflow, reduced to the parts that ComfyUI validates."""

from __future__ import annotations

import math
from collections.abc import Collection
from decimal import Decimal
from sys import intern
from typing import Final

import msgspec

from comfywatchman.comfyui.validation.signature import Scalar
from comfywatchman.comfyui.workflow.document import LinkSource, Workflow, WorkflowFormat, WorkflowNode

MAX_TEXT: Final = 64
"""Longest text that is kept whole, in characters; prompts and notes are longer."""

CUT_MARK: Final = "…"
"""Ends a text that was cut."""

_COMPOSITE: Final = "{…}"
"""Stands for a list or an object: like most texts, it is neither a number nor a choice."""

_MAX_EXACT_INT: Final = 1 << 53
"""Largest integer up to which JavaScript, and so the editor, keeps every digit."""


class PromptNode(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """One node of the prompt.

    Attributes:
        path: Its path as the server writes it (`12:5`).
        class_type: Its class.
        links: The outputs that feed its inputs, by input name.
        values: Its values by input name, or by widget index (`#4`) for a list of values.
        names: The names that the file gives for that list, by index.
        count: Number of values in that list; 0 when the file gives values by name only.
        linked: Further inputs that a link feeds, from a source that is not known.
        unfed: Inputs without a widget that get nothing in the editor; None in the API format, and where an extension of
            the editor feeds such inputs.
        given: Every input of a node in the API format; None in the editor's format, which the editor completes.
        malformed: Inputs whose value is a list, but not a link that the server can follow.
        models: Inputs whose values name models; those are judged separately.
    """

    path: str
    class_type: str
    links: dict[str, LinkSource] = {}
    values: dict[str, Scalar] = {}
    names: tuple[str | None, ...] = ()
    count: int = 0
    linked: tuple[str, ...] = ()
    unfed: tuple[str, ...] | None = None
    given: tuple[str, ...] | None = None
    malformed: tuple[str, ...] = ()
    models: tuple[str, ...] = ()


def build_prompt(
    workflow: Workflow, models: Collection[tuple[str, str]], *, not_sent: Collection[str] = ()
) -> tuple[PromptNode, ...]:
    """Return the active nodes of a workflow; none if an id occurs twice, since its links are ambiguous.

    Args:
        workflow: The workflow.
        models: Node path and input name of each value that names a model.
        not_sent: Classes that only the editor has.
    """
    is_api = workflow.format is WorkflowFormat.API
    active = [node for node in workflow.nodes if node.active and (is_api or node.class_type not in not_sent)]
    if len({node.path for node in active}) < len(active):
        return ()
    models_by_node: dict[str, list[str]] = {}
    for path, name in models:
        models_by_node.setdefault(path, []).append(name)
    return tuple(_build_node(node, models_by_node.get(node.path, ()), is_api=is_api) for node in active)


def _build_node(node: WorkflowNode, models: Collection[str], *, is_api: bool) -> PromptNode:
    values: dict[str, Scalar] = {}
    for name, value in node.values.items():
        # A value of the list is kept by its index: the editor assigns the list in its own order, whatever the names.
        if name not in node.widget_names:
            _keep_value(values, name, value, is_api=is_api)
    for index, value in enumerate(node.positional):
        _keep_value(values, f"#{index}", value, is_api=is_api)
    links = {intern(name): LinkSource(intern(link.path), *link[1:]) for name, link in node.links.items()}
    # The same few names recur in all nodes of all workflows: interning holds each of them once.
    return PromptNode(
        path=intern(node.path),
        class_type=intern(node.class_type),
        links=links,
        values=values,
        names=_intern_names(node.widget_names),
        count=len(node.positional),
        linked=tuple(sorted(node.linked - links.keys())),
        unfed=None if is_api else node.unfed,
        given=tuple(sorted({*node.values, *node.linked})) if is_api else None,
        malformed=tuple(sorted(node.malformed)),
        models=tuple(sorted(models)),
    )


def _intern_names(names: tuple[str | None, ...]) -> tuple[str | None, ...]:
    return tuple(None if name is None else intern(name) for name in names)


def _keep_value(values: dict[str, Scalar], name: str, value: object, *, is_api: bool) -> None:
    if isinstance(value, str):
        is_short = len(value) <= MAX_TEXT and "\n" not in value
        values[intern(name)] = intern(value if is_short else value[:MAX_TEXT] + CUT_MARK)
    elif isinstance(value, list | dict):
        values[intern(name)] = _COMPOSITE
    elif isinstance(value, float) and not math.isfinite(value):
        return
    elif value is None or isinstance(value, float):
        values[intern(name)] = value
    elif isinstance(value, int):
        values[intern(name)] = value if is_api else _round_as_editor(value)


def _round_as_editor(number: int) -> int | None:
    """Return an integer as JavaScript sends it: a large one loses its last digits, an infinite one becomes null."""
    if abs(number) <= _MAX_EXACT_INT:
        return number
    try:
        return int(Decimal(repr(float(number))))
    except OverflowError:
        return None


def is_cut(value: Scalar) -> bool:
    """Return whether a text was too long to be kept."""
    return isinstance(value, str) and len(value) > MAX_TEXT
