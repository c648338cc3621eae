"""Report entries for inputs and workflows that ComfyUI would refuse."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Final

from comfywatchman.base.text import shorten_list
from comfywatchman.comfyui.packs.core_classes import EDITOR_ONLY
from comfywatchman.comfyui.validation.rejection import LinkedOutput, RejectedInput, RejectionReason
from comfywatchman.comfyui.validation.rules import ValidationRules
from comfywatchman.comfyui.validation.signature import LIST_PREFIX, Scalar
from comfywatchman.comfyui.validation.validate import has_no_output
from comfywatchman.readiness.status import NOTHING_TO_RUN, FileProblem, RefusedInput
from comfywatchman.readiness.workflow_facts import WorkflowFacts

_MAX_NAMED_CHOICES: Final = 8
_MAX_SIMILAR: Final = 3
_MAX_COMPARED: Final = 500
OUTPUT_LEFT_OUT: Final = "output-left-out"
"""Problem code of an input for which the server leaves out some outputs of a workflow and runs the others."""

INPUT_DOUBTFUL: Final = "input-doubtful"
"""Problem code of an input for which the server may refuse the workflow, or leave out some of its outputs."""
INPUT_UNCHECKED: Final = "input-unchecked"
"""Problem code of a value that only code of a node pack checks, although the server was queried."""

_PROBLEMS: Final = {
    RejectionReason.NOT_GIVEN: "gets nothing",
    RejectionReason.NOT_OFFERED: "is {value}",
    RejectionReason.NOT_A_NUMBER: "is {value}, which is not a number",
    RejectionReason.NOT_A_FILE_NAME: "is {value}, which is not the name of a file",
    RejectionReason.TOO_SMALL: "is {value}, less than the lowest value {limit}",
    RejectionReason.TOO_LARGE: "is {value}, more than the highest value {limit}",
    RejectionReason.BAD_LINK: "has a list that is not a link",
    RejectionReason.NO_SUCH_NODE: "is linked to node {node}, which is not in the workflow",
    RejectionReason.NO_SUCH_OUTPUT: "is linked to output {slot} of node {node}, which does not exist",
    RejectionReason.WRONG_TYPE: "takes {wanted}, but node {node} gives {received}",
    RejectionReason.CYCLE: "is linked in a circle, so that its node waits for itself",
    RejectionReason.OPTIONAL_GROWTH: "adds optional inputs, on which this version of ComfyUI fails",
}
"""What is wrong, as the end of a sentence that begins with the input."""

_FIXES: Final = {
    RejectionReason.NOT_GIVEN: "Link something to it; if it is linked, a node on the way is muted.",
    RejectionReason.NOT_A_NUMBER: "Enter a number in the node.",
    RejectionReason.NOT_A_FILE_NAME: "Choose a file in the node.",
    RejectionReason.TOO_SMALL: "Enter {limit} or more in the node.",
    RejectionReason.TOO_LARGE: "Enter {limit} or less in the node.",
    RejectionReason.BAD_LINK: "Export the workflow again from the editor: a link is [node id, output number].",
    RejectionReason.NO_SUCH_NODE: "Export the workflow again from the editor, or link the input to another node.",
    RejectionReason.NO_SUCH_OUTPUT: "Link the input again: the node's class has changed since the workflow was saved.",
    RejectionReason.WRONG_TYPE: "Link an output of type {wanted}.",
    RejectionReason.CYCLE: "Cut one of the links of the circle.",
    RejectionReason.OPTIONAL_GROWTH: "Update ComfyUI, or install a version of the node pack for this ComfyUI.",
}
"""The next step; for `NOT_OFFERED` it names the choices."""


def find_reason_not_to_run(facts: WorkflowFacts, rules: ValidationRules) -> FileProblem | None:
    """Return why the server would find nothing to run; None unless that is certain."""
    if not _has_anything_to_run(facts):
        why = "all its nodes are muted, bypassed or notes" if facts.classes else "it holds no node"
        return FileProblem(NOTHING_TO_RUN, f"There is nothing to run: {why}.")
    if has_no_output(facts.prompt, rules):
        why = "none of its active nodes is an output (one that saves or shows something)"
        return FileProblem(NOTHING_TO_RUN, f"There is nothing to run: {why}.")
    return None


def build_refused_input(rejected: RejectedInput, *, is_live: bool) -> RefusedInput:
    """Build the report's entry of an input for which the server refuses a prompt.

    Args:
        rejected: The input.
        is_live: Whether the running server gave the choices, and not its source.
    """
    return RefusedInput(
        input=rejected.input,
        value=_write_value(rejected.value),
        node_type=rejected.node.class_type,
        node_path=rejected.node.path,
        reason=rejected.reason,
        fix=_describe_fix(rejected, is_live=is_live),
        problem=_describe_problem(rejected),
    )


def build_left_out_problem(refused: RefusedInput) -> FileProblem:
    """Build the problem of an input for which the server runs the other outputs only."""
    message = f"ComfyUI will run its other outputs only: {_describe_input(refused)}"
    return FileProblem(OUTPUT_LEFT_OUT, message, refused.node_path)


def build_doubtful_problem(refused: RefusedInput) -> FileProblem:
    """Build the problem of an input that the server may refuse."""
    message = f"ComfyUI may refuse this, which only a run can show: {_describe_input(refused)}"
    return FileProblem(INPUT_DOUBTFUL, message, refused.node_path)


def build_unchecked_problem(class_type: str, name: str) -> FileProblem:
    """Build the problem of a value that only code of a node pack checks.

    Args:
        class_type: The node class.
        name: Its input; empty where it is not known which inputs the class has.
    """
    what = f"{name or 'inputs'} of {class_type}"
    message = f"Only code of its node pack can check this, when the workflow is queued: {what}."
    return FileProblem(INPUT_UNCHECKED, message)


def build_refusal_problems(refused: Iterable[RefusedInput], doubtful: Iterable[RefusedInput]) -> list[FileProblem]:
    """Build the problems of inputs that do not decide the verdict, left-out outputs first."""
    problems = [build_left_out_problem(refused_input) for refused_input in refused]
    problems += [build_doubtful_problem(refused_input) for refused_input in doubtful]
    return problems


def _has_anything_to_run(facts: WorkflowFacts) -> bool:
    if any(reference.active for reference in facts.references):
        return True
    # The editor sends neither notes nor its own routing nodes to the server.
    return any(use.node_paths for name, use in facts.classes.items() if name not in EDITOR_ONLY)


def _describe_input(refused: RefusedInput) -> str:
    return f"{refused.input} of this {refused.node_type} {refused.problem}. {refused.fix}"


def _describe_problem(rejected: RejectedInput) -> str:
    """Describe what is wrong, as the end of a sentence that begins with the input."""
    return _fill(_PROBLEMS[rejected.reason], rejected)


def _describe_fix(rejected: RejectedInput, *, is_live: bool) -> str:
    if rejected.reason is RejectionReason.NOT_OFFERED:
        return _explain_choices(rejected.value, rejected.offered, is_live=is_live)
    return _fill(_FIXES[rejected.reason], rejected)


def _fill(template: str, rejected: RejectedInput) -> str:
    output = rejected.output or LinkedOutput("", 0)
    node = f"{output.path} ({output.class_type})" if output.class_type else output.path
    return template.format(
        value="empty" if rejected.value is None else repr(rejected.value),
        limit=rejected.limit,
        wanted=_name_type(rejected.wanted),
        received=_name_type(output.type),
        node=node,
        slot=output.slot,
    )


def _write_value(value: Scalar) -> str | None:
    return value if isinstance(value, str | None) else str(value)


def _name_type(data_type: str | None) -> str:
    return "a list of choices" if data_type is None or data_type.startswith(LIST_PREFIX) else data_type


def _sort_by_likeness(choices: list[str], value: str) -> list[str]:
    """Return choices with those first that are spelled like a value; most lists are longer than what is named."""
    # Comparing thousands of choices would take longer than the whole verdict.
    by_lower_case = {choice.lower(): choice for choice in reversed(choices[:_MAX_COMPARED])}
    similar = difflib.get_close_matches(value.lower(), by_lower_case, n=_MAX_SIMILAR)
    first = [by_lower_case[choice] for choice in similar]
    return [*first, *(choice for choice in choices if choice not in first)]


def _explain_choices(value: Scalar, offered: Sequence[Scalar], *, is_live: bool) -> str:
    choices = _sort_by_likeness([str(choice) for choice in offered], str(value))
    named = shorten_list(choices, most=_MAX_NAMED_CHOICES, conjunction="or")
    who = "The running ComfyUI" if is_live else "The source of this ComfyUI"
    if not offered:
        return f"{who} offers nothing there: restart it after adding what the node lists."
    return f"{who} does not offer it; choose one of these in the node: {named}."
