"""The widget values that a node of the editor's format stores, with their names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from comfywatchman.base.json_values import as_mapping
from comfywatchman.comfyui.loaders.table import LoaderTable
from comfywatchman.comfyui.workflow.document import WidgetDefault, WorkflowProblem
from comfywatchman.comfyui.workflow.graph import InputSlot, RawNode

CONTROL: Final = "control_after_generate"
_CONTROL_VALUES: Final = frozenset({"fixed", "increment", "decrement", "randomize"})
_SEEDS: Final = frozenset({"seed", "noise_seed"})
_SCALARS: Final = (str, int, float, type(None))
_CONTAINER: Final = object()


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
        self._set_position(name, value)

    def clear_value(self, name: str) -> None:
        """Replace the stored value with the default of a class, which the file does not give."""
        self.by_name.pop(name, None)
        self._set_position(name, WidgetDefault.VALUE)

    def has_unnamed_value(self) -> bool:
        """Return whether a value of the list may belong to a widget that is not in `by_name`."""
        return len(self.names) < len(self.by_position) or None in self.names

    def _set_position(self, name: str, value: object) -> None:
        if self.positions is None:
            self.positions = {known: position for position, known in enumerate(self.names)}
        if name in self.positions:
            self.by_position[self.positions[name]] = value


def read_stored_widgets(
    node: RawNode, table: LoaderTable, *, path: str, problems: list[WorkflowProblem]
) -> NodeWidgets:
    """Return the widget values that the editor restores for a node.

    It restores `widgets_values`. The values of `widgets_values_named` count only with its setting
    `Comfy.Workflow.NamedValuesRestore`, which is off by default; here they give names to positions of the list. A
    widget without a value in the list gets the default of its class.

    Args:
        node: The node.
        table: Gives the widget order of loader classes.
        path: Path of the node, for problems.
        problems: A conflict between the two notations is appended here.
    """
    values = node.raw.get("widgets_values")
    named = as_mapping(node.raw.get("widgets_values_named"))
    if isinstance(values, dict):
        # Nodes of VideoHelperSuite, for example, restore such a mapping by themselves.
        return NodeWidgets(dict(values))
    if values is not None and not isinstance(values, list) and table.inputs(node.class_type):
        message = f"The widget values of this {node.class_type} node are neither a list nor a mapping."
        problems.append(WorkflowProblem("widgets-unreadable", message, path))
    listed = values if isinstance(values, list) else []
    names = _find_names(node, listed, named, table)
    if named and has_conflict(names, listed, named):
        problems.append(build_disagreement_problem(f"{node.class_type} node", path))
    # The names may be fewer than the values; values without a name are reached by position only.
    by_name = {name: value for name, value in zip(names, listed, strict=False) if name is not None}
    return NodeWidgets(by_name, list(listed), names)


def is_widget_slot(slot: InputSlot, class_type: str, table: LoaderTable) -> bool:
    """Return whether an input has a widget; older files mark only the inputs whose widget was converted."""
    return slot.widget is not None or slot.name in table.widget_names(class_type)


def has_conflict(names: Sequence[str | None], values: Sequence[object], named: Mapping[str, object]) -> bool:
    """Return whether a list of widget values and the values by name differ.

    Args:
        names: Name by position of the list, None where unknown.
        values: The list.
        named: The values by name.
    """
    if len(values) != len(named):
        return True
    by_position = [_get_comparable(value) for value in named.values()]
    wanted = [_get_comparable(value) for value in values]
    is_reordered = Counter(by_position) == Counter(wanted)
    for position, value in enumerate(wanted):
        name = names[position] if position < len(names) else None
        if name is not None and name in named:
            other = _get_comparable(named[name])
        elif is_reordered:
            continue
        else:
            other = by_position[position]
        if _CONTAINER not in (value, other) and value != other:
            return True
    return False


def build_disagreement_problem(owner: str, path: str) -> WorkflowProblem:
    """Build the problem of a node whose list of values and values by name differ.

    Args:
        owner: The kind of node, for people.
        path: Its path.
    """
    message = f"The two lists of widget values of this {owner} disagree; the editor restores `widgets_values`."
    return WorkflowProblem("widget-names-disagree", message, path)


def _find_names(
    node: RawNode, values: list[object], named: Mapping[str, object], table: LoaderTable
) -> tuple[str | None, ...]:
    """Return the names of a value list: of the file while they fit its values, else of the class."""
    known = table.widget_names(node.class_type)[: len(values)]
    if named:
        in_order = tuple(named)[: len(values)]
        if not has_conflict(in_order, values, named) and _contains_in_order(in_order, known):
            return in_order
        return _complete_names(known, _match_reordered_names(values, named) or in_order)
    file_names = _list_slot_names(node, values)
    return file_names if _contains_in_order(file_names, known) else known


def _contains_in_order(names: tuple[str | None, ...], known: tuple[str | None, ...]) -> bool:
    """Return whether a file's names may be those of the installed class: a newer one may have more widgets."""
    # The editor goes by the widgets of the installed class, whatever names the file gives.
    remaining = iter(names)
    # Each test moves the iterator on, so that the order counts.
    return bool(names) and all(name is None or name in remaining for name in known)


def _complete_names(known: tuple[str | None, ...], names: tuple[str | None, ...]) -> tuple[str | None, ...]:
    """Return the known names, and others for the positions that they leave open."""
    completed: list[str | None] = []
    for position in range(max(len(known), len(names))):
        name = known[position] if position < len(known) else None
        if name is None and position < len(names) and names[position] not in known:
            name = names[position]
        completed.append(name)
    return tuple(completed)


def _list_slot_names(node: RawNode, values: list[object]) -> tuple[str | None, ...]:
    """Return the names that the input slots of newer files give; empty where they do not cover all widgets."""
    slot_names = [slot.widget for slot in node.slots if slot.widget is not None]
    if slot_names and len(slot_names) <= len(values):
        names = _insert_control_names(slot_names, values)
        if len(names) == len(values):
            return names
    return ()


def _match_reordered_names(values: list[object], named: Mapping[str, object]) -> tuple[str | None, ...]:
    """Return the names whose values are those of the list in another order; none when the values differ.

    Programs that sort the keys of a file give such names. A value that occurs twice stays without a name.
    """
    wanted = [_get_comparable(value) for value in values]
    given = {name: _get_comparable(value) for name, value in named.items()}
    if list(given.values()) == wanted or Counter(given.values()) != Counter(wanted):
        return ()
    names_by_value: dict[object, str | None] = {}
    for name, value in given.items():
        names_by_value[value] = None if value in names_by_value else name
    return tuple(names_by_value[value] for value in wanted)


def _get_comparable(value: object) -> object:
    # Containers are all alike here: comparing deeply nested ones would exhaust the stack.
    return value if isinstance(value, _SCALARS) else _CONTAINER


def _insert_control_names(slot_names: list[str], values: list[object]) -> tuple[str | None, ...]:
    # A seed widget is followed by the "control after generate" widget, which has a value but no input slot.
    names: list[str | None] = []
    surplus = len(values) - len(slot_names)
    for name in slot_names:
        names.append(name)
        if surplus and name in _SEEDS and _is_control(values[len(names)]):
            names.append(CONTROL)
            surplus -= 1
    return tuple(names)


def _is_control(value: object) -> bool:
    return isinstance(value, str) and value in _CONTROL_VALUES
