"""The widget values that a node of the editor's format stores, with their names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from comfywatchman.base.json_values import as_mapping
from comfywatchman.comfyui.loaders.table import LoaderTable
from comfywatchman.comfyui.workflow.document import WorkflowProblem
from comfywatchman.comfyui.workflow.graph import RawNode

_CONTROL: Final = "control_after_generate"
_CONTROL_VALUES: Final = frozenset({"fixed", "increment", "decrement", "randomize"})
_SEEDS: Final = frozenset({"seed", "noise_seed"})
_SCALARS: Final = (str, int, float, type(None))


@dataclass(slots=True)
class NodeWidgets:
    """Widget values of one node, while overrides are applied.

    Attributes:
        by_name: Value by widget name.
        by_position: Values in widget order; empty when only the names are reliable.
        names: Name by position, None where unknown; empty when no name is known.
        positions: Position by name, filled on first use.
    """

    by_name: dict[str, object]
    by_position: list[object] = field(default_factory=list)
    names: tuple[str | None, ...] = ()
    positions: dict[str | None, int] | None = None

    def set_value(self, name: str, value: object) -> None:
        """Replace the stored value with one from outside the node."""
        self.by_name[name] = value
        if self.positions is None:
            self.positions = {known: position for position, known in enumerate(self.names)}
        if name in self.positions:
            self.by_position[self.positions[name]] = value


def read_stored_widgets(
    node: RawNode, table: LoaderTable, *, path: str, problems: list[WorkflowProblem]
) -> NodeWidgets:
    """Return the widget values that a node stores.

    The official frontend restores the positional list; `widgets_values_named` gives the names of its positions, and
    its own values count only when the two differ in length.

    Args:
        node: The node.
        table: Gives the widget order of loader classes, for files without names.
        path: Path of the node, for problems.
        problems: A conflict between the two notations is appended here.
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
    # The names may be fewer than the values; values without a name are reached by position only.
    by_name = {name: value for name, value in zip(names, values, strict=False) if name is not None}
    return NodeWidgets(by_name, list(values), names)


def _find_names(node: RawNode, values: list[object], table: LoaderTable) -> tuple[str | None, ...]:
    """Return the names of a value list: from the input slots of newer files, else from the loader table."""
    slot_names = [slot.widget for slot in node.slots if slot.widget is not None]
    if slot_names and len(slot_names) <= len(values):
        names = _insert_control_names(slot_names, values)
        if len(names) == len(values):
            return names
    return table.widget_names(node.class_type)[: len(values)]


def _insert_control_names(slot_names: list[str], values: list[object]) -> tuple[str | None, ...]:
    # A seed widget is followed by the "control after generate" widget, which has a value but no input slot.
    names: list[str | None] = []
    surplus = len(values) - len(slot_names)
    for name in slot_names:
        names.append(name)
        if surplus and name in _SEEDS and _is_control(values[len(names)]):
            names.append(_CONTROL)
            surplus -= 1
    return tuple(names)


def _is_control(value: object) -> bool:
    return isinstance(value, str) and value in _CONTROL_VALUES


def _has_conflict(values: list[object], named: Mapping[str, object]) -> bool:
    """Return whether a scalar value differs between the two notations."""
    # Containers are left out: comparing deeply nested ones would exhaust the stack.
    for value, other in zip(values, named.values(), strict=True):
        if isinstance(value, _SCALARS) and isinstance(other, _SCALARS) and value != other:
            return True
    return False


def _disagreement_problem(node: RawNode, path: str) -> WorkflowProblem:
    message = f"The two lists of widget values of this {node.class_type} node disagree."
    return WorkflowProblem("widget-names-disagree", message, path)
