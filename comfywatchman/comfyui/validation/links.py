"""Check a link as ComfyUI does: its node and output exist, and the types agree."""

from __future__ import annotations

from collections.abc import Mapping

from comfywatchman.comfyui.validation.prompt import PromptNode
from comfywatchman.comfyui.validation.rejection import LinkedOutput, RejectedInput, RejectionReason
from comfywatchman.comfyui.validation.rules import ServerChecks, ValidationRules
from comfywatchman.comfyui.validation.signature import (
    ANY,
    COMBO,
    INPUT_TYPES_CHECK,
    LIST_PREFIX,
    MATCH_TYPE,
    InputSignature,
    NodeSignature,
)
from comfywatchman.comfyui.workflow.document import LinkSource


def check_link(
    node: PromptNode,
    owner: NodeSignature,
    signature: InputSignature,
    link: LinkSource,
    *,
    by_path: Mapping[str, PromptNode],
    rules: ValidationRules,
) -> RejectedInput | None:
    """Return why ComfyUI rejects a link; None for a link that it accepts, or may accept for all that is known.

    Args:
        node: The node at the end of the link.
        owner: The signature of its class.
        signature: The signature of the input.
        link: The output at the other end.
        by_path: The nodes of the prompt by path.
        rules: The rules of the server.
    """
    source = by_path.get(link.path)
    if source is None:
        output = LinkedOutput(link.path, link.slot)
        return RejectedInput(node, signature.name, RejectionReason.NO_SUCH_NODE, output=output)
    source_signature = rules.classes.get(source.class_type)
    if source_signature is None or source_signature.outputs is None or not link.is_certain:
        return None
    outputs = source_signature.outputs
    # ComfyUI takes the type from a tuple, where a negative number counts from the end.
    if not -len(outputs) <= link.slot < len(outputs):
        output = LinkedOutput(link.path, link.slot, source.class_type, count=len(outputs))
        is_certain = source_signature.has_plain_types
        return RejectedInput(node, signature.name, RejectionReason.NO_SUCH_OUTPUT, output=output, is_certain=is_certain)
    received = outputs[link.slot]
    is_checked = owner.own_checks is not None and INPUT_TYPES_CHECK not in owner.own_checks
    if not is_checked or may_feed(received, signature.type, rules.checks):
        return None
    return RejectedInput(
        node,
        signature.name,
        RejectionReason.WRONG_TYPE,
        wanted=signature.type,
        output=LinkedOutput(link.path, link.slot, source.class_type, received, len(outputs)),
        is_certain=source_signature.has_plain_types and owner.has_plain_types,
    )


def may_feed(received: str | None, wanted: str | None, checks: ServerChecks) -> bool:
    """Return whether an output may feed an input, by their types; True where a type is not known.

    As `validate_node_input` of ComfyUI 0.7 to 0.33: a type may be a union `A,B`, and one common type is enough. In
    0.3.75 `*` fits every type only if its class of text says so, as that of `IO.ANY` does; it is taken to.
    """
    if received is None or wanted is None or received == wanted:
        return True
    # ComfyUI leaves the check of matching types to the editor.
    if not {ANY, MATCH_TYPE}.isdisjoint((received, wanted)):
        return True
    if received.startswith(LIST_PREFIX):
        # Newer versions let a list feed a combo.
        return wanted == COMBO and checks.lists_feed_combos is not False
    if wanted.startswith(LIST_PREFIX):
        return False
    received_types, wanted_types = _split_union(received), _split_union(wanted)
    return ANY in received_types | wanted_types or not received_types.isdisjoint(wanted_types)


def _split_union(data_type: str) -> set[str]:
    return {part.strip() for part in data_type.split(",")}
