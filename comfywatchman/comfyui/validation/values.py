"""Check the value of an input as ComfyUI does: convert numbers, compare limits and choices."""

from __future__ import annotations

from typing import Final

from comfywatchman.comfyui.validation.prompt import CUT_MARK, MAX_TEXT, PromptNode, is_cut
from comfywatchman.comfyui.validation.rejection import RejectedInput, RejectionReason
from comfywatchman.comfyui.validation.rules import ServerChecks
from comfywatchman.comfyui.validation.signature import ALL_INPUTS, COMBO, InputSignature, NodeSignature, Scalar

_INT: Final = "INT"
_FLOAT: Final = "FLOAT"
_PLAIN_TYPES: Final = frozenset({_INT, _FLOAT, "BOOLEAN"})
"""Types of values with their own limits; functions of classes check texts, such as the name of a file."""


def check_value(
    node: PromptNode, owner: NodeSignature, signature: InputSignature, value: Scalar, checks: ServerChecks
) -> RejectedInput | None:
    """Return why ComfyUI rejects a value; None for a value that it accepts, or may accept for all that is known.

    Args:
        node: The node.
        owner: The signature of its class.
        signature: The signature of the input.
        value: The value, as it reaches the server.
        checks: The checks of the server's version.
    """
    number = value
    if signature.type in (_INT, _FLOAT):
        number = _convert_number(value, signature.type)
        if number is None:
            return _reject_number(node, owner, signature, RejectionReason.NOT_A_NUMBER, value)
    if signature.is_file and not isinstance(value, str):
        return _reject_file_name(node, owner, signature, value)
    # A class that checks the value itself leaves only the conversion to the server.
    if owner.own_checks is None or owner.own_checks == ALL_INPUTS or signature.name in owner.own_checks:
        return None
    if isinstance(number, int | float):
        if signature.minimum is not None and number < signature.minimum:
            return _reject_number(node, owner, signature, RejectionReason.TOO_SMALL, value)
        if signature.maximum is not None and number > signature.maximum:
            return _reject_number(node, owner, signature, RejectionReason.TOO_LARGE, value)
    return _check_choice(node, owner, signature, value, checks)


def _convert_number(value: Scalar, input_type: str) -> int | float | None:
    """Return the number that ComfyUI makes of a value, in Python as well; None when it cannot."""
    if value is None:
        return None
    try:
        return int(value) if input_type == _INT else float(value)
    except (ValueError, OverflowError):
        return None


def _reject_number(
    node: PromptNode, owner: NodeSignature, signature: InputSignature, reason: RejectionReason, value: Scalar
) -> RejectedInput:
    limit = {RejectionReason.TOO_SMALL: signature.minimum, RejectionReason.TOO_LARGE: signature.maximum}.get(reason)
    # Code of packs in the editor computes numbers when a workflow is sent, such as a seed from -1.
    is_certain = node.given is not None or not owner.has_editor_code
    return RejectedInput(
        node, signature.name, reason, value, limit=limit, wanted=signature.type or "", is_certain=is_certain
    )


def _reject_file_name(
    node: PromptNode, owner: NodeSignature, signature: InputSignature, value: Scalar
) -> RejectedInput | None:
    """Reject a value that is no text: the class's own check raises on it."""
    if value is not None:
        is_certain = node.given is not None or not owner.has_editor_code
        return RejectedInput(node, signature.name, RejectionReason.NOT_A_FILE_NAME, value, is_certain=is_certain)
    # The editor replaces null by the first choice.
    return None if node.given is None else RejectedInput(node, signature.name, RejectionReason.NOT_GIVEN)


def _check_choice(
    node: PromptNode, owner: NodeSignature, signature: InputSignature, value: Scalar, checks: ServerChecks
) -> RejectedInput | None:
    choices = signature.choices
    if choices is None or not signature.is_combo or signature.name in node.models or value in choices:
        return None
    is_checked = True if signature.is_legacy_combo else checks.new_combos
    # The editor replaces null by the first choice.
    is_replaced = value is None and node.given is None
    if is_checked is False or is_replaced or _may_be_cut_choice(value, choices):
        return None
    is_certain = is_checked is True and not owner.may_offer_more
    return RejectedInput(
        node, signature.name, RejectionReason.NOT_OFFERED, value, offered=choices, is_certain=is_certain
    )


def has_unknown_choices(
    node: PromptNode, owner: NodeSignature, signature: InputSignature, value: Scalar, checks: ServerChecks
) -> bool:
    """Return whether ComfyUI compares a value with choices that are not known, so that it may refuse the value."""
    known = signature.known_choices
    if known is None or value is None or signature.name in node.models:
        return False
    if signature.type == COMBO and checks.new_combos is False:
        return False
    has_own_check = owner.own_checks == ALL_INPUTS or signature.name in (owner.own_checks or ())
    return not has_own_check and value not in known


def may_be_refused(node: PromptNode, owner: NodeSignature, signature: InputSignature, value: Scalar) -> bool:
    """Return whether a function of the class's own may refuse a value.

    A file of the user is looked for elsewhere, and of a combo's choices the function refuses none.
    """
    is_named = signature.name in owner.refusable or owner.refusable == ALL_INPUTS
    if not is_named or value is None or value == "" or signature.is_file or signature.name in node.models:
        return False
    if signature.is_combo or signature.known_choices is not None:
        choices = signature.choices if signature.choices is not None else signature.known_choices
        return choices is not None and value not in choices
    return signature.type not in _PLAIN_TYPES


def _may_be_cut_choice(value: Scalar, choices: tuple[Scalar, ...]) -> bool:
    if not isinstance(value, str) or not is_cut(value):
        return False
    start = value.removesuffix(CUT_MARK)
    return any(isinstance(choice, str) and choice[:MAX_TEXT] == start for choice in choices)
