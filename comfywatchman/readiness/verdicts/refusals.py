"""Report entries for inputs and workflows that a running server would refuse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from comfywatchman.base.text import shorten_list
from comfywatchman.comfyui.packs.core_classes import EDITOR_ONLY
from comfywatchman.comfyui.server.validation import RejectedInput, ValidationRules, has_no_output
from comfywatchman.readiness.status import NOTHING_TO_RUN, FileProblem, RefusedInput
from comfywatchman.readiness.workflow_facts import WorkflowFacts

_MAX_NAMED_CHOICES: Final = 8
OUTPUT_LEFT_OUT: Final = "output-left-out"
"""Problem code of an input for which the server leaves out some outputs of a workflow and runs the others."""


def find_reason_not_to_run(facts: WorkflowFacts, rules: ValidationRules) -> FileProblem | None:
    """Return why the server would find nothing to run; None unless that is certain."""
    if not _has_anything_to_run(facts):
        why = "all its nodes are muted, bypassed or notes" if facts.classes else "it holds no node"
        return FileProblem(NOTHING_TO_RUN, f"There is nothing to run: {why}.")
    if has_no_output(facts.wiring, rules):
        why = "none of its active nodes is an output (one that saves or shows something)"
        return FileProblem(NOTHING_TO_RUN, f"There is nothing to run: {why}.")
    return None


def build_refused_input(rejected: RejectedInput) -> RefusedInput:
    """Build the report's entry of an input for which the server refuses a prompt."""
    reason: Literal["not_given", "not_offered"]
    if rejected.value is None:
        reason, fix = "not_given", "Link something to it; if it is linked, a node on the way is muted."
    else:
        reason, fix = "not_offered", _explain_choices(rejected.offered)
    return RefusedInput(
        input=rejected.input,
        value=rejected.value,
        node_type=rejected.node.class_type,
        node_path=rejected.node.path,
        reason=reason,
        fix=fix,
    )


def build_left_out_problem(refused: RefusedInput) -> FileProblem:
    """Build the problem of an input for which the server runs the other outputs only."""
    gets = "gets nothing" if refused.value is None else f"is {refused.value!r}"
    message = (
        f"ComfyUI will run its other outputs only: {refused.input} of this {refused.node_type} {gets}. {refused.fix}"
    )
    return FileProblem(OUTPUT_LEFT_OUT, message, refused.node_path)


def _has_anything_to_run(facts: WorkflowFacts) -> bool:
    if any(reference.active for reference in facts.references):
        return True
    # The editor sends neither notes nor its own routing nodes to the server.
    return any(use.node_paths for name, use in facts.classes.items() if name not in EDITOR_ONLY)


def _explain_choices(offered: Sequence[str]) -> str:
    named = shorten_list(offered, most=_MAX_NAMED_CHOICES, conjunction="or")
    return f"The running ComfyUI does not offer it; choose one of these in the node: {named}."
