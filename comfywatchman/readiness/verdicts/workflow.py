"""The verdict on a workflow from its models and nodes. Pure: the workflow's facts and the host's are passed in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from comfywatchman.comfyui.references.input_files import InputFile
from comfywatchman.comfyui.references.reference import Reference
from comfywatchman.comfyui.validation.needed_nodes import find_unneeded_nodes
from comfywatchman.comfyui.validation.rules import NO_RULES, ValidationRules
from comfywatchman.comfyui.validation.validate import NOTHING_REJECTED, PromptValidation, validate_prompt
from comfywatchman.readiness.states import ModelState, WorkflowStatus
from comfywatchman.readiness.status import (
    FileProblem,
    InactiveModel,
    MissingModel,
    MissingNode,
    RefusedInput,
    UncheckedChoice,
)
from comfywatchman.readiness.verdicts.findings import ClassFinding, ModelFinding, ModelLookup
from comfywatchman.readiness.verdicts.missing_models import (
    build_missing_models,
    build_skipped_problem,
    find_inactive_models,
    is_required,
    is_skipped,
)
from comfywatchman.readiness.verdicts.models import combine_findings, judge_reference
from comfywatchman.readiness.verdicts.pack_choice import prefer_needed_packs
from comfywatchman.readiness.verdicts.refusals import (
    build_refusal_problems,
    build_refused_input,
    build_unchecked_problem,
    find_reason_not_to_run,
)
from comfywatchman.readiness.workflow_facts import ClassUse, WorkflowFacts

JUDGE_VERSION: Final = 18
"""To be raised when a verdict changes for the same facts; cached verdicts of other versions are not used."""

UNKNOWN_STATE: Final = "unknown"

_MAX_REPEATED: Final = 3
"""How often the report repeats one kind of problem of a file."""

LINK_TO_NOWHERE: Final = "link-to-nowhere"

INCOMPLETE_READ_CODES: Final = frozenset(
    {
        "node-unreadable",
        "subgraph-cycle",
        "group-values-unmapped",
        "editor-cannot-send",
        LINK_TO_NOWHERE,
        "model-name-absent",
        "model-name-computed",
        "widgets-unreadable",
    }
)
"""Problems of a file that hide a part of what it needs, or for which the server refuses it."""

NodeJudge = Callable[[str, ClassUse], ClassFinding]
"""Judges one node class."""

Choices = Callable[[str, str], Collection[str] | None]
"""Returns the list that the running server offers for an input of a node class; None when it is not known."""


class WorkflowVerdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """The verdict on one content from models and nodes; see `WorkflowEntry` for the fields.

    It is cached by content. `inputs` are the files that a user supplies: they come and go without a change of the
    content, so `compose_verdict` counts them in anew in each cycle.
    """

    status: WorkflowStatus
    container: str
    format: str | None = None
    models: int = 0
    missing_models: tuple[MissingModel, ...] = ()
    missing_nodes: tuple[MissingNode, ...] = ()
    inactive_models: tuple[InactiveModel, ...] = ()
    uncertain_count: int = 0
    problems: tuple[FileProblem, ...] = ()
    inputs: tuple[InputFile, ...] = ()
    refused_inputs: tuple[RefusedInput, ...] = ()
    unconfirmed_packs: tuple[str, ...] = ()
    unchecked_choices: tuple[UncheckedChoice, ...] = ()


def no_choices(_class_type: str, _input: str) -> None:
    """Return no list: `Choices` of a host without a running server."""


def judge_workflow(
    facts: WorkflowFacts,
    models: ModelLookup,
    judge_node: NodeJudge,
    choices: Choices = no_choices,
    rules: ValidationRules = NO_RULES,
) -> WorkflowVerdict:
    """Judge a workflow by its models, its nodes and the rules by which ComfyUI validates a prompt.

    Args:
        facts: The workflow.
        models: The inventory.
        judge_node: Judges one node class.
        choices: The lists of a running server.
        rules: The validation rules of ComfyUI.
    """
    if facts.failure is not None:
        return WorkflowVerdict(status=WorkflowStatus.INVALID, container=facts.container, problems=(facts.failure,))
    # Nodes come first: a missing class makes the values of its inputs doubtful.
    nodes, unconfirmed_packs = judge_nodes(facts.classes, judge_node)
    findings = judge_references(facts.references, models, [node.class_type for node in nodes], choices)
    unneeded = find_unneeded_nodes(facts.prompt, rules)
    required = [finding for finding in findings if is_required(finding.reference, unneeded)]
    skipped = [finding for finding in required if is_skipped(finding)]
    not_ready = [finding for finding in required if finding.state is not ModelState.EXACT and not is_skipped(finding)]
    unread_count = _count_unread(facts, rules)
    # An incompletely read workflow may hold the output that seems to be missing.
    reason_not_to_run = find_reason_not_to_run(facts, rules) if unread_count == 0 else None
    validation = _validate(facts, nodes, rules)
    refused = tuple(build_refused_input(rejected, is_live=rules.is_live) for rejected in validation.inputs)
    problems = list(facts.problems)
    if reason_not_to_run is not None:
        status = WorkflowStatus.INVALID
        problems.insert(0, reason_not_to_run)
    else:
        is_doubtful = unread_count > 0 or _count_doubts(validation, rules) > 0
        status = _decide_status(not_ready, nodes, is_doubtful=is_doubtful, is_refused=validation.is_whole)
    problems += _find_prompt_problems(validation, rules)
    problems += [build_skipped_problem(finding) for finding in skipped]
    return WorkflowVerdict(
        status=status,
        container=facts.container,
        format=facts.format,
        models=len(required),
        missing_models=build_missing_models(not_ready, facts.declared, models.target),
        missing_nodes=nodes,
        inactive_models=find_inactive_models(findings, unneeded),
        uncertain_count=_count_uncertain(nodes, not_ready) + unread_count + _count_doubts(validation, rules),
        problems=limit_repeated_problems(problems),
        inputs=facts.inputs,
        refused_inputs=refused if validation.is_whole else (),
        unconfirmed_packs=unconfirmed_packs,
        unchecked_choices=tuple(UncheckedChoice(one.class_type, one.input) for one in validation.unchecked),
    )


def _has_only_unchecked_outputs(validation: PromptValidation, rules: ValidationRules) -> bool:
    """Return whether code of packs may refuse every output, although the server was queried.

    Without a server READY only names what was not checked; a running one shows all that can be known.
    """
    is_open = bool(validation.unchecked) and not validation.has_checked_output
    return rules.is_live and is_open and not validation.is_whole


def _find_prompt_problems(validation: PromptValidation, rules: ValidationRules) -> list[FileProblem]:
    """Return the problems of inputs for which the server may refuse the workflow or some of its outputs."""
    problems: list[FileProblem] = []
    # The server then runs the other outputs, so the verdict stays and only the report names the refused inputs.
    if not validation.is_whole:
        refused, doubtful = (
            [build_refused_input(rejected, is_live=rules.is_live) for rejected in inputs]
            for inputs in (validation.inputs, validation.doubtful)
        )
        problems += build_refusal_problems(refused, doubtful)
    if _has_only_unchecked_outputs(validation, rules):
        problems += [build_unchecked_problem(one.class_type, one.input) for one in validation.unchecked]
    return problems


def limit_repeated_problems(problems: Iterable[FileProblem]) -> tuple[FileProblem, ...]:
    """Return the problems with each kind at most three times, and the number of the others of that kind."""
    shown: list[FileProblem] = []
    counts: Counter[str] = Counter()
    for problem in problems:
        counts[problem.code] += 1
        if counts[problem.code] <= _MAX_REPEATED:
            shown.append(problem)
    for code, count in counts.items():
        if count > _MAX_REPEATED:
            shown.append(FileProblem(code, f"{count - _MAX_REPEATED} more problems of this kind ({count} in all)."))
    return tuple(shown)


def _count_unread(facts: WorkflowFacts, rules: ValidationRules) -> int:
    """Count the problems that hide a part of what the workflow needs."""
    classes = {node.path: node.class_type for node in facts.prompt}
    count = 0
    for problem in facts.problems:
        # Where the inputs of the class are known, the validation decides about a link to nowhere.
        is_validated = problem.code == LINK_TO_NOWHERE and classes.get(problem.node_path or "") in rules.classes
        count += problem.code in INCOMPLETE_READ_CODES and not is_validated
    return count


def _validate(facts: WorkflowFacts, nodes: Sequence[MissingNode], rules: ValidationRules) -> PromptValidation:
    # The server refuses a prompt with a missing class before it looks at any input.
    return NOTHING_REJECTED if nodes else validate_prompt(facts.prompt, rules)


def _count_doubts(validation: PromptValidation, rules: ValidationRules) -> int:
    """Count the inputs for which the server may refuse the whole workflow."""
    count = len(validation.doubtful) if validation.is_doubtful else 0
    return count + (len(validation.unchecked) if _has_only_unchecked_outputs(validation, rules) else 0)


def judge_references(
    references: Iterable[Reference], models: ModelLookup, unknown_classes: Sequence[str], choices: Choices = no_choices
) -> list[ModelFinding]:
    """Judge every model reference of one workflow, active or not.

    Args:
        references: The references.
        models: The inventory.
        unknown_classes: Node classes of the workflow that this host lacks.
        choices: The lists of a running server.
    """
    findings = []
    for reference in references:
        offered = choices(reference.node_type, reference.input)
        findings.append(judge_reference(reference, models, unknown_classes=unknown_classes, choices=offered))
    return findings


def judge_nodes(
    classes: Mapping[str, ClassUse], judge_node: NodeJudge
) -> tuple[tuple[MissingNode, ...], tuple[str, ...]]:
    """Return the problems of the classes of active nodes, sorted by class, and the packs that nothing has confirmed."""
    missing: list[MissingNode] = []
    unconfirmed_packs: set[str] = set()
    for name, use in sorted(classes.items()):
        if not use.node_paths:
            continue
        finding = judge_node(name, use)
        unconfirmed_packs.update(finding.unconfirmed_packs)
        if finding.missing is not None:
            missing.append(finding.missing)
    return prefer_needed_packs(missing), tuple(sorted(unconfirmed_packs))


def _decide_status(
    required: Iterable[ModelFinding], nodes: Sequence[MissingNode], *, is_doubtful: bool, is_refused: bool
) -> WorkflowStatus:
    unknown_count = sum(node.state == UNKNOWN_STATE for node in nodes)
    return combine_findings(
        required,
        nodes_missing=unknown_count < len(nodes),
        nodes_uncertain=is_doubtful or unknown_count > 0,
        is_refused=is_refused,
    )


def _count_uncertain(nodes: Iterable[MissingNode], models: Iterable[ModelFinding]) -> int:
    # Several packages with the class: which of them the author used is as open as whether the class is missing.
    uncertain_nodes = [node for node in nodes if node.state == UNKNOWN_STATE or len(node.packages) > 1]
    uncertain_models = [finding for finding in models if not finding.is_sure]
    return len(uncertain_nodes) + len(uncertain_models)
