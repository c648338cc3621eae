"""From what a workflow names and what this host has to its verdict, with what to do about each gap."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from comfywatchman.comfyui.packs.core_classes import EDITOR_ONLY
from comfywatchman.comfyui.references.input_files import InputFile
from comfywatchman.comfyui.references.reference import Reference
from comfywatchman.comfyui.server.validation import (
    NO_RULES,
    RejectedInput,
    ValidationRules,
    has_no_output,
    validate_prompt,
)
from comfywatchman.comfyui.workflow.document import DeclaredModel
from comfywatchman.readiness.states import ModelState, WorkflowStatus
from comfywatchman.readiness.status import (
    NOTHING_TO_RUN,
    FileProblem,
    InactiveModel,
    MissingModel,
    MissingNode,
    ModelCandidate,
    RefusedInput,
)
from comfywatchman.readiness.verdicts.models import (
    ModelFinding,
    ModelLookup,
    combine_findings,
    confidence_rank,
    judge_reference,
)
from comfywatchman.readiness.workflow_facts import ClassUse, WorkflowFacts
from comfywatchman.sources.urls import strip_secrets

JUDGE_VERSION: Final = 7
"""Raised when judging changes, so that kept verdicts are made anew."""

UNKNOWN_STATE: Final = "unknown"
_NAMED_CHOICES: Final = 8

INCOMPLETE_READ_CODES: Final = frozenset(
    {
        "node-unreadable",
        "subgraph-cycle",
        "group-values-unmapped",
        "link-to-nowhere",
        "model-name-absent",
        "model-name-computed",
        "widgets-unreadable",
    }
)
"""Problems of a file that leave open what it asks for, or for which the server refuses it."""

NodeJudge = Callable[[str, ClassUse], MissingNode | None]
"""Returns what is wrong with a node class, or None when this host runs it."""


class WorkflowVerdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """The verdict on one content; see `WorkflowEntry` for the fields.

    `inputs` are the files that a person supplies; whether they are there is asked in each cycle anew.
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


Choices = Callable[[str, str], Collection[str] | None]
"""Returns what the running server offers for an input of a node class, or None when that is not known."""


def no_choices(_class_type: str, _input: str) -> None:
    """Say that no server runs that would offer anything."""


def judge_workflow(
    facts: WorkflowFacts,
    models: ModelLookup,
    judge_node: NodeJudge,
    choices: Choices = no_choices,
    rules: ValidationRules = NO_RULES,
) -> WorkflowVerdict:
    """Hold one workflow against the host: nodes first, for a missing class makes promoted values doubtful."""
    if facts.failure is not None:
        return WorkflowVerdict(status=WorkflowStatus.INVALID, container=facts.container, problems=(facts.failure,))
    nodes = judge_nodes(facts.classes, judge_node)
    lacking_classes = tuple(node.class_type for node in nodes)
    findings = judge_references(facts.references, models, lacking_classes, choices)
    required = [finding for finding in findings if finding.reference.active]
    lacking = [finding for finding in required if finding.state is not ModelState.EXACT]
    named = {(finding.reference.folder, finding.reference.value) for finding in required}
    inactive = [f for f in findings if not f.reference.active and (f.reference.folder, f.reference.value) not in named]
    unsure = [node for node in nodes if node.state == UNKNOWN_STATE]
    unread = sum(problem.code in INCOMPLETE_READ_CODES for problem in facts.problems)
    nothing = () if unread else _find_reason_not_to_run(facts, rules)
    refusing = validate_prompt(facts.wiring, rules)
    refusals = tuple(map(_build_refused_input, refusing.inputs))
    status = combine_findings(
        required,
        nodes_missing=len(unsure) < len(nodes),
        nodes_uncertain=bool(unsure or unread),
        is_refused=refusing.is_whole,
    )
    return WorkflowVerdict(
        status=WorkflowStatus.INVALID if nothing else status,
        container=facts.container,
        format=facts.format,
        models=len(required),
        missing_models=_build_missing_models(lacking, facts.declared),
        missing_nodes=nodes,
        inactive_models=tuple(_build_inactive_model(finding) for finding in inactive),
        uncertain_count=sum(map(_is_uncertain, nodes)) + sum(not finding.is_sure for finding in lacking) + unread,
        problems=(*nothing, *facts.problems, *(() if refusing.is_whole else map(_build_left_out_problem, refusals))),
        inputs=facts.inputs,
        refused_inputs=refusals if refusing.is_whole else (),
    )


def _find_reason_not_to_run(facts: WorkflowFacts, rules: ValidationRules) -> tuple[FileProblem, ...]:
    """Return why the server would have nothing to run, if that is sure; it refuses such a prompt."""
    sent = [name for name, use in facts.classes.items() if use.node_paths and name not in EDITOR_ONLY]
    if not sent and not any(reference.active for reference in facts.references):
        why = "all its nodes are muted, bypassed or notes" if facts.classes else "it holds no node"
        return (FileProblem(NOTHING_TO_RUN, f"There is nothing to run: {why}."),)
    if has_no_output(facts.wiring, rules):
        why = "none of its active nodes is an output (one that saves or shows something)"
        return (FileProblem(NOTHING_TO_RUN, f"There is nothing to run: {why}."),)
    return ()


def _build_refused_input(refusal: RejectedInput) -> RefusedInput:
    node = refusal.node
    if refusal.value is None:
        fix = "Link something to it; if it is linked, a node on the way is muted."
    else:
        more = len(refusal.offered) - _NAMED_CHOICES
        named = ", ".join(refusal.offered[:_NAMED_CHOICES]) + (f" or {more} more" if more > 0 else "")
        fix = f"The running ComfyUI does not offer it; choose one of these in the node: {named}."
    return RefusedInput(
        input=refusal.input,
        value=refusal.value,
        node_type=node.class_type,
        node_path=node.path,
        reason="not_given" if refusal.value is None else "not_offered",
        fix=fix,
    )


def _build_left_out_problem(one: RefusedInput) -> FileProblem:
    gets = "gets nothing" if one.value is None else f"is {one.value!r}"
    message = f"ComfyUI will run its other outputs only: {one.input} of this {one.node_type} {gets}. {one.fix}"
    return FileProblem("output-left-out", message, one.node_path)


def judge_references(
    references: Iterable[Reference], models: ModelLookup, lacking_classes: Sequence[str], choices: Choices = no_choices
) -> list[ModelFinding]:
    """Judge every reference of one workflow, active or not."""
    return [
        judge_reference(one, models, unknown_classes=lacking_classes, choices=choices(one.node_type, one.input))
        for one in references
    ]


def judge_nodes(classes: Mapping[str, ClassUse], judge_node: NodeJudge) -> tuple[MissingNode, ...]:
    """Return what is wrong with the classes of active nodes, in the order of their names."""
    found = (judge_node(name, use) for name, use in sorted(classes.items()) if use.node_paths)
    return tuple(node for node in found if node is not None)


def _is_uncertain(node: MissingNode) -> bool:
    """Say whether it is open if the class is missing, or which of several packages brings it."""
    return node.state == UNKNOWN_STATE or len(node.packages) > 1


def find_declared_candidates(reference: Reference, declared: Iterable[DeclaredModel]) -> tuple[ModelCandidate, ...]:
    """Return where the workflow's author says that a model is to be had; a proposal, not a fact."""
    wanted = reference.value.replace("\\", "/").rpartition("/")[2]
    matching = {
        (model.url, model.name): model
        for model in declared
        if model.name in {wanted, reference.value} and model.directory in {None, "", reference.folder}
    }
    return tuple(_build_candidate(model, model.url) for model in matching.values() if model.url)


def _build_candidate(model: DeclaredModel, url: str) -> ModelCandidate:
    is_sha256 = (model.hash_type or "").lower() == "sha256"
    return ModelCandidate(
        source="declared",
        url=strip_secrets(url),
        name=model.name,
        sha256=model.hash if is_sha256 else None,
        reason="declared by the workflow's author",
    )


def _build_missing_models(
    lacking: Sequence[ModelFinding], declared: Sequence[DeclaredModel]
) -> tuple[MissingModel, ...]:
    ordered = sorted(lacking, key=lambda finding: confidence_rank(finding.reference.confidence))
    return tuple(_build_missing_model(finding, declared) for finding in ordered)


def _build_missing_model(finding: ModelFinding, declared: Sequence[DeclaredModel]) -> MissingModel:
    reference = finding.reference
    return MissingModel(
        name=reference.value,
        folder=reference.folder,
        node_type=reference.node_type,
        node_path=reference.node_path,
        input=reference.input,
        status=finding.state,
        fix=finding.fix,
        evidence=reference.evidence,
        confidence=reference.confidence,
        candidates=find_declared_candidates(reference, declared) if finding.state is ModelState.MISSING else (),
    )


def _build_inactive_model(finding: ModelFinding) -> InactiveModel:
    reference = finding.reference
    return InactiveModel(reference.value, reference.folder, reference.node_path, finding.state)
