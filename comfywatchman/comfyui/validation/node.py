"""Check one node of a prompt against the signature of its class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from comfywatchman.comfyui.validation.links import check_link
from comfywatchman.comfyui.validation.prompt import PromptNode
from comfywatchman.comfyui.validation.rejection import RejectedInput, RejectionReason
from comfywatchman.comfyui.validation.rules import ValidationRules
from comfywatchman.comfyui.validation.signature import InputSignature, NodeSignature, Scalar, expand_inputs
from comfywatchman.comfyui.validation.values import check_value


@dataclass(slots=True)
class CheckedNode:
    """A node with the result of its checks.

    Attributes:
        rejected: Its rejected inputs.
        sources: Nodes that the server validates with it, by the input that a link connects.
        possible_sources: Further nodes that the server may validate with it.
    """

    rejected: list[RejectedInput] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    possible_sources: set[str] = field(default_factory=set)


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
        return CheckedNode(possible_sources={link.path for link in node.links.values() if link.path in by_path})
    checked = CheckedNode()
    values = read_values(node, owner)
    declared: set[str] = set()
    for signature in expand_inputs(owner.inputs, values):
        name = signature.name
        declared.add(name)
        rejected: RejectedInput | None = None
        if name in node.links:
            rejected = check_link(node, owner, signature, node.links[name], by_path=by_path, rules=rules)
        elif name in node.malformed:
            rejected = RejectedInput(node, name, RejectionReason.BAD_LINK)
        elif name in values:
            rejected = check_value(node, owner, signature, values[name], rules.checks)
        elif signature.is_required and _is_left_open(node, signature):
            rejected = RejectedInput(node, name, RejectionReason.NOT_GIVEN, is_certain=not may_be_fed_later)
        if rejected is not None:
            checked.rejected.append(rejected)
    _add_sources(checked, node, declared, _find_open_prefixes(owner, values), by_path)
    return checked


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
    # The variant of a dynamic combo is not known without its value.
    return tuple(
        f"{signature.name}."
        for signature in owner.inputs
        if signature.expansion is not None and signature.expansion.variants and signature.name not in values
    )


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
    indexes, count = number_widgets(owner, node.count)
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


def number_widgets(owner: NodeSignature, value_count: int) -> tuple[dict[str, int], int | None]:
    """Return the index of each input in the list of values as far as widths are known, and the length of the list.

    Args:
        owner: The signature of the class.
        value_count: The length of the list in the file. When it shows that the list has values of inputs that have
            since become link-only, the editor drops those (`migrateWidgetsValues`).
    """
    full_count = _count_values(owner, with_forced=True)
    has_forced_values = full_count == value_count and full_count != _count_values(owner, with_forced=False)
    indexes: dict[str, int] = {}
    index = 0
    for signature in owner.inputs:
        if signature.width != 0:
            indexes[signature.name] = index
        if signature.width is None:
            return indexes, None
        index += signature.width + (has_forced_values and signature.is_forced)
    return indexes, index


def _count_values(owner: NodeSignature, *, with_forced: bool) -> int | None:
    count = 0
    for signature in owner.inputs:
        if signature.width is None:
            return None
        count += signature.width + (with_forced and signature.is_forced)
    return count
