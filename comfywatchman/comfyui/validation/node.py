"""Check one node of a prompt against the signature of its class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from comfywatchman.comfyui.validation.links import check_link
from comfywatchman.comfyui.validation.prompt import PromptNode, is_cut
from comfywatchman.comfyui.validation.rejection import RejectedInput, RejectionReason, UncheckedInput
from comfywatchman.comfyui.validation.rules import ValidationRules
from comfywatchman.comfyui.validation.signature import (
    InputExpansion,
    InputSignature,
    NodeSignature,
    Scalar,
    expand_inputs,
    list_optional_growth,
)
from comfywatchman.comfyui.validation.values import check_value, has_unknown_choices, may_be_refused


@dataclass(slots=True)
class CheckedNode:
    """A node with the result of its checks.

    Attributes:
        rejected: Its rejected inputs.
        sources: Nodes that the server validates with it, by the input that a link connects.
        possible_sources: Further nodes that the server may validate with it.
        unchecked: Its values that only ComfyUI can check.
    """

    rejected: list[RejectedInput] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    possible_sources: set[str] = field(default_factory=set)
    unchecked: list[UncheckedInput] = field(default_factory=list)


def check_node(
    node: PromptNode, by_path: Mapping[str, PromptNode], rules: ValidationRules, *, may_be_fed_later: bool
) -> CheckedNode:
    """Check the declared inputs of a node.

    Args:
        node: The node.
        by_path: The nodes of the prompt by path.
        rules: The rules of the server.
        may_be_fed_later: Whether code of a pack may feed open inputs when the editor sends the workflow.
    """
    owner = rules.classes.get(node.class_type)
    if owner is None:
        sources = {link.path for link in node.links.values() if link.path in by_path}
        return CheckedNode(possible_sources=sources, unchecked=_list_unchecked_node(node, rules))
    values = read_values(node, owner)
    checked = CheckedNode(_reject_optional_growth(node, owner, values, rules))
    if not owner.has_all_inputs:
        checked.unchecked += _list_unchecked_node(node, rules)
    possible = read_possible_values(node, owner, values)
    declared: set[str] = set()
    for signature in expand_inputs(owner.inputs, values, needs_grown=rules.checks.grown_inputs is not False):
        name = signature.name
        declared.add(name)
        rejected: RejectedInput | None = None
        if name in node.links:
            rejected = check_link(node, owner, signature, node.links[name], by_path=by_path, rules=rules)
        elif name in node.malformed:
            rejected = RejectedInput(node, name, RejectionReason.BAD_LINK)
        elif name in values:
            rejected = _check_given(checked, node, owner, signature, values[name], rules=rules)
        elif name in possible:
            rejected = _check_given(checked, node, owner, signature, possible[name], rules=rules)
            rejected = rejected and replace(rejected, is_certain=False)
        elif signature.is_required and _is_left_open(node, signature):
            rejected = RejectedInput(node, name, RejectionReason.NOT_GIVEN, is_certain=not may_be_fed_later)
        if rejected is not None:
            checked.rejected.append(rejected)
    _add_sources(checked, node, declared, _find_open_prefixes(owner, values), by_path)
    return checked


def _reject_optional_growth(
    node: PromptNode, owner: NodeSignature, values: Mapping[str, Scalar], rules: ValidationRules
) -> list[RejectedInput]:
    """Reject the growing inputs on which a version of ComfyUI fails, even where nothing is linked to them."""
    if rules.checks.optional_growth is not False:
        return []
    names = list_optional_growth(owner.inputs, values)
    return [RejectedInput(node, name, RejectionReason.OPTIONAL_GROWTH) for name in names]


def _check_given(
    checked: CheckedNode,
    node: PromptNode,
    owner: NodeSignature,
    signature: InputSignature,
    value: Scalar,
    *,
    rules: ValidationRules,
) -> RejectedInput | None:
    if has_unknown_choices(node, owner, signature, value, rules.checks) or may_be_refused(
        node, owner, signature, value
    ):
        checked.unchecked.append(UncheckedInput(node.class_type, signature.name))
    return check_value(node, owner, signature, value, rules.checks)


def _list_unchecked_node(node: PromptNode, rules: ValidationRules) -> list[UncheckedInput]:
    """Return the note that inputs of a node could not be checked; none where nothing could be, and without values."""
    return [UncheckedInput(node.class_type)] if node.values and rules.classes and not rules.is_live else []


def _is_left_open(node: PromptNode, signature: InputSignature) -> bool:
    """Return whether the prompt gives nothing for an input that has no known value."""
    if node.given is not None:
        return signature.name not in node.given
    # The editor gives every widget a value.
    if node.unfed is None or not signature.is_socket:
        return False
    # The editor adds a declared input that the file does not list.
    return signature.name in node.unfed or signature.name not in node.linked


def _find_open_prefixes(owner: NodeSignature, values: Mapping[str, Scalar]) -> tuple[str, ...]:
    """Return the beginnings of names that the class may declare although they are not known."""
    if not owner.has_all_inputs:
        return ("",)
    return tuple(f"{signature.name}." for signature in owner.inputs if _is_open(signature, values))


def _is_open(signature: InputSignature, values: Mapping[str, Scalar]) -> bool:
    """Return whether it is not known which inputs a dynamic input adds."""
    if signature.expansion is None:
        return signature.type is None
    # The variant of a dynamic combo is not known without its value.
    return bool(signature.expansion.variants) and signature.name not in values


def _add_sources(
    checked: CheckedNode,
    node: PromptNode,
    declared: set[str],
    open_prefixes: tuple[str, ...],
    by_path: Mapping[str, PromptNode],
) -> None:
    for name, link in node.links.items():
        if link.path not in by_path:
            continue
        # The server does not look at links of inputs that the class does not declare.
        if name in declared and link.is_certain:
            checked.sources[name] = link.path
        elif name in declared or name.startswith(open_prefixes):
            checked.possible_sources.add(link.path)


def read_values(node: PromptNode, owner: NodeSignature) -> dict[str, Scalar]:
    """Return the values that the server receives, by input name; those that are not certain are missing.

    The editor assigns the list of values to the widgets in the order of their declaration, whatever the file calls
    them. Code of a pack may add widgets; then the number of values shows it, and both orders must agree.
    """
    if node.given is not None or not node.count:
        return node.values
    indexes, count = number_widgets(owner, node)
    is_declared_order = not owner.has_editor_code or count == node.count
    values = {name: value for name, value in node.values.items() if not name.startswith("#")}
    listed = {name: index for index, name in enumerate(node.names) if name is not None}
    for name in {**listed, **indexes}:
        if name in values or name in node.linked:
            continue
        index = indexes.get(name, listed.get(name))
        is_certain = is_declared_order or name not in indexes or index == listed.get(name)
        key = f"#{index}"
        if is_certain and key in node.values:
            values[name] = node.values[key]
    return values


def read_possible_values(node: PromptNode, owner: NodeSignature, values: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Return the values that the server receives unless code of a pack changes the order of the widgets.

    Args:
        node: The node.
        owner: The signature of its class.
        values: The certain values, which are left out.
    """
    if node.given is not None or not node.count:
        return {}
    indexes, _ = number_widgets(owner, node)
    keys = {name: f"#{index}" for name, index in indexes.items() if name not in values and name not in node.linked}
    return {name: node.values[key] for name, key in keys.items() if key in node.values}


def number_widgets(owner: NodeSignature, node: PromptNode) -> tuple[dict[str, int], int | None]:
    """Return the index of each input in the list of values as far as widths are known, and the length of the list.

    When the length of the list in the file shows that it has values of inputs that have since become link-only, the
    editor drops those (`migrateWidgetsValues`).
    """
    full_count = _count_values(owner, with_forced=True)
    has_forced_values = full_count == node.count and full_count != _count_values(owner, with_forced=False)
    indexes: dict[str, int] = {}
    return indexes, _number_inputs(owner.inputs, node.values, indexes, 0, has_forced_values=has_forced_values)


def _number_inputs(
    inputs: Iterable[InputSignature],
    values: Mapping[str, Scalar],
    indexes: dict[str, int],
    index: int,
    *,
    prefix: str = "",
    has_forced_values: bool = False,
) -> int | None:
    """Add the indexes of some inputs, and return the next one; None behind an input of unknown width."""
    for signature in inputs:
        name = prefix + signature.name
        expansion = signature.expansion
        if expansion is not None and expansion.grown:
            continue  # only links feed the inputs that a growing one adds
        if signature.width != 0:
            indexes[name] = index
        width = signature.width
        if expansion is not None:
            # The widgets of the chosen variant stand behind that of the dynamic combo.
            variant = _choose_variant(expansion, values, f"#{index}")
            if variant is None:
                return None
            end = _number_inputs(variant, values, indexes, index + 1, prefix=f"{name}.")
            if end is None:
                return None
            width = end - index
        if width is None:
            return None
        index += width + (has_forced_values and signature.is_forced)
    return index


def _choose_variant(
    expansion: InputExpansion, values: Mapping[str, Scalar], key: str
) -> tuple[InputSignature, ...] | None:
    """Return the inputs that the value of a dynamic combo adds; None if they are not known."""
    value = values.get(key)
    if key not in values or is_cut(value):
        return None
    if not isinstance(value, str):
        return ()
    # For a value that is not offered (any more) the editor adds no widget.
    return expansion.variants.get(value, ())


def _count_values(owner: NodeSignature, *, with_forced: bool) -> int | None:
    count = 0
    for signature in owner.inputs:
        if signature.width is None:
            return None
        count += signature.width + (with_forced and signature.is_forced)
    return count
