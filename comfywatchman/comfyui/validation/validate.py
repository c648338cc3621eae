"""Predict whether ComfyUI accepts a prompt, apart from missing models and classes.

As `execution.validate_prompt` of ComfyUI 0.3.75 to 0.33: a prompt needs an output node. ComfyUI checks the declared
inputs of each output and of every node behind them, and runs the outputs without errors.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from comfywatchman.comfyui.validation.node import CheckedNode, check_node
from comfywatchman.comfyui.validation.prompt import PromptNode
from comfywatchman.comfyui.validation.rejection import RejectedInput, RejectionReason, UncheckedInput
from comfywatchman.comfyui.validation.rules import ValidationRules


@dataclass(frozen=True, slots=True)
class PromptValidation:
    """The predicted result of the validation.

    Attributes:
        inputs: Inputs that are certainly rejected, in the order of their nodes.
        doubtful: Inputs that may be rejected.
        is_whole: Whether the whole prompt is refused; otherwise the server runs the outputs without rejected inputs.
        is_doubtful: Whether the whole prompt may be refused.
        unchecked: Inputs of the outputs and of the nodes behind them whose values only ComfyUI can check; each class
            and input once.
        has_checked_output: Whether some output has neither doubtful nor unchecked inputs.
    """

    inputs: tuple[RejectedInput, ...] = ()
    doubtful: tuple[RejectedInput, ...] = ()
    is_whole: bool = False
    is_doubtful: bool = False
    unchecked: tuple[UncheckedInput, ...] = ()
    has_checked_output: bool = True


NOTHING_REJECTED: Final = PromptValidation()


def has_no_output(nodes: Collection[PromptNode], rules: ValidationRules) -> bool:
    """Return whether certainly none of the nodes is an output; a class without that information may be one."""
    return bool(nodes) and all(_is_output(node, rules) is False for node in nodes)


def validate_prompt(nodes: Iterable[PromptNode], rules: ValidationRules) -> PromptValidation:
    """Return the inputs that the server would reject, and those that it may reject."""
    by_path = {node.path: node for node in nodes}
    # Extensions of the editor may feed open inputs when a workflow is sent; only packs bring such code.
    may_be_fed_later = any(_has_editor_code(node, rules) for node in by_path.values())
    checked = {
        path: check_node(node, by_path, rules, may_be_fed_later=may_be_fed_later) for path, node in by_path.items()
    }
    _reject_cycles(by_path, checked)
    if not any(node.rejected or node.unchecked for node in checked.values()):
        return NOTHING_REJECTED

    rejected: set[str] = set()
    possibly_rejected: set[str] = set()
    unchecked: dict[UncheckedInput, None] = {}
    outputs = [node for node in by_path.values() if _is_output(node, rules) is not False]
    refused_count = 0
    has_sound_output = has_checked_output = False
    for output in outputs:
        certain = {path for path in _collect_ancestors(output.path, checked) if _is_rejected(checked[path])}
        reached = _collect_ancestors(output.path, checked, with_possible=True)
        possible = {path for path in reached if checked[path].rejected}
        unchecked.update(
            dict.fromkeys(finding for path in by_path if path in reached for finding in checked[path].unchecked)
        )
        rejected |= certain
        possibly_rejected |= possible
        refused_count += bool(certain)
        if not possible and _is_output(output, rules) is True:
            has_sound_output = True
            has_checked_output = has_checked_output or not any(checked[path].unchecked for path in reached)
    inputs: list[RejectedInput] = []
    doubtful: list[RejectedInput] = []
    for path, node in checked.items():
        for finding in node.rejected:
            if finding.is_certain and path in rejected:
                inputs.append(finding)
            elif path in possibly_rejected:
                doubtful.append(finding)
    is_whole = bool(outputs) and refused_count == len(outputs)
    is_doubtful = bool(possibly_rejected) and not has_sound_output and not is_whole
    return PromptValidation(tuple(inputs), tuple(doubtful), is_whole, is_doubtful, tuple(unchecked), has_checked_output)


def _is_output(node: PromptNode, rules: ValidationRules) -> bool | None:
    signature = rules.classes.get(node.class_type)
    return None if signature is None else signature.is_output


def _has_editor_code(node: PromptNode, rules: ValidationRules) -> bool:
    signature = rules.classes.get(node.class_type)
    return signature is None or signature.has_editor_code


def _is_rejected(node: CheckedNode) -> bool:
    return any(finding.is_certain for finding in node.rejected)


def _reject_cycles(by_path: Mapping[str, PromptNode], checked: Mapping[str, CheckedNode]) -> None:
    """Reject the link that closes each dependency cycle."""
    finished: set[str] = set()
    for start in by_path:
        # Each entry is a node with the links that are still to be followed.
        stack = [(start, iter(checked[start].sources.items()))]
        active = {start: None}
        while stack and start not in finished:
            path, links = stack[-1]
            name, source = next(links, (None, ""))
            if name is None:
                stack.pop()
                active.pop(path)
                finished.add(path)
            elif source in active:
                checked[path].rejected.append(RejectedInput(by_path[path], name, RejectionReason.CYCLE))
            elif source not in finished:
                stack.append((source, iter(checked[source].sources.items())))
                active[source] = None


def _collect_ancestors(output: str, checked: Mapping[str, CheckedNode], *, with_possible: bool = False) -> set[str]:
    """Return the paths of an output and of all nodes that lead to it."""
    seen, waiting = {output}, [output]
    while waiting:
        node = checked[waiting.pop()]
        sources = set(node.sources.values())
        if with_possible:
            sources |= node.possible_sources
        waiting.extend(sources - seen)
        seen |= sources
    return seen
