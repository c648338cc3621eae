"""The widget values that a node of the editor's file stores, with their names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from comfywatchman.comfyui.loaders.table import LoaderTable
from comfywatchman.comfyui.workflow.document import WorkflowProblem
from comfywatchman.comfyui.workflow.graph import RawNode, as_mapping

_CONTROL: Final = "control_after_generate"
_CONTROL_VALUES: Final = frozenset({"fixed", "increment", "decrement", "randomize"})
_SEEDS: Final = frozenset({"seed", "noise_seed"})
_SCALARS: Final = (str, int, float, type(None))


@dataclass(slots=True)
class NodeWidgets:
    """Values of one node while they are being worked out.

    Attributes:
        by_name: Value by widget name.
        by_place: Values in widget order; empty when only names can be trusted.
        names: Name by place, None where nothing tells; empty when no name is known.
        places: Place by name, made when first asked for.
    """

    by_name: dict[str, object]
    by_place: list[object] = field(default_factory=list)
    names: tuple[str | None, ...] = ()
    places: dict[str | None, int] | None = None

    def put(self, name: str, value: object) -> None:
        """Let a value from outside replace the stored one."""
        self.by_name[name] = value
        if self.places is None:
            self.places = {known: place for place, known in enumerate(self.names)}
        if name in self.places:
            self.by_place[self.places[name]] = value


def read_stored_widgets(
    node: RawNode, table: LoaderTable, *, path: str, problems: list[WorkflowProblem]
) -> NodeWidgets:
    """Give the values that a node stores.

    The positional list is what the official frontend restores; `widgets_values_named` gives the names of its
    places, and its values count only when the two differ in length.

    Args:
        node: The node.
        table: Knows the widget order of loader classes, for files that carry no names.
        path: Its path, for problems.
        problems: Takes a disagreement of the two notations.
    """
    values = node.raw.get("widgets_values")
    named = as_mapping(node.raw.get("widgets_values_named"))
    if isinstance(values, dict):
        return NodeWidgets(dict(values))
    if values is not None and not isinstance(values, list) and table.inputs(node.class_type):
        message = f"The widget values of this {node.class_type} node are neither a list nor a mapping."
        problems.append(WorkflowProblem("widgets-unreadable", message, path))
    if not isinstance(values, list) or not values:
        return NodeWidgets(dict(named))
    if named and len(named) != len(values):
        problems.append(_disagreement_problem(node, path))
        return NodeWidgets(dict(named))
    if named and _has_conflict(values, named):
        problems.append(_disagreement_problem(node, path))
    names = tuple(named) if named else _find_names(node, values, table)
    by_name = {name: value for name, value in zip(names, values, strict=False) if name is not None}
    return NodeWidgets(by_name, list(values), names)


def _find_names(node: RawNode, values: list[object], table: LoaderTable) -> tuple[str | None, ...]:
    listed = [slot.widget for slot in node.slots if slot.widget is not None]
    if listed and len(listed) <= len(values):
        names = _insert_control_names(listed, values)
        if len(names) == len(values):
            return names
    return table.widget_names(node.class_type)[: len(values)]


def _insert_control_names(listed: list[str], values: list[object]) -> tuple[str | None, ...]:
    # A seed widget is followed by the "what next" widget, which has a value but no input of its own.
    names: list[str | None] = []
    spare = len(values) - len(listed)
    for name in listed:
        names.append(name)
        if spare and name in _SEEDS and _is_control(values[len(names)]):
            names.append(_CONTROL)
            spare -= 1
    return tuple(names)


def _is_control(value: object) -> bool:
    return isinstance(value, str) and value in _CONTROL_VALUES


def _has_conflict(values: list[object], named: Mapping[str, object]) -> bool:
    # Containers are left out: comparing deeply nested ones would exhaust the stack.
    return any(
        isinstance(one, _SCALARS) and isinstance(other, _SCALARS) and one != other
        for one, other in zip(values, named.values(), strict=True)
    )


def _disagreement_problem(node: RawNode, path: str) -> WorkflowProblem:
    message = f"The two lists of widget values of this {node.class_type} node disagree."
    return WorkflowProblem("widget-names-disagree", message, path)
