"""Report entries of models that are not ready, and the download addresses that the workflow's author declares."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

from comfywatchman.base.files import printable_path
from comfywatchman.comfyui.references.reference import Reference
from comfywatchman.comfyui.workflow.document import DeclaredModel
from comfywatchman.readiness.states import ModelState
from comfywatchman.readiness.status import FileProblem, InactiveModel, MissingModel, ModelCandidate
from comfywatchman.readiness.verdicts.findings import ModelFinding
from comfywatchman.readiness.verdicts.models import confidence_rank
from comfywatchman.readiness.verdicts.near_matches import basename, to_posix
from comfywatchman.sources.urls import strip_secrets

EMBEDDING_SKIPPED: Final = "embedding-skipped"
"""Problem code of an embedding that is not here: ComfyUI runs the text without it."""

_UNSKIPPED_STATES: Final = frozenset({ModelState.EXACT, ModelState.INVALID, ModelState.UNKNOWN})
"""States of an embedding that is there, or may be: ComfyUI opens the file, and fails if it is broken."""


def build_missing_models(
    findings: Iterable[ModelFinding], declared: Sequence[DeclaredModel], find_target: Callable[[str], str]
) -> tuple[MissingModel, ...]:
    """Build the entries of models that are not ready, the most certain first.

    Args:
        findings: Findings of active references that are not `EXACT`.
        declared: Models that the workflow's author declares.
        find_target: Returns where a new model of a folder belongs.
    """
    ordered = sorted(findings, key=lambda finding: confidence_rank(finding.reference.confidence))
    return tuple(_build_missing_model(finding, declared, find_target) for finding in ordered)


def is_required(reference: Reference, unneeded: Collection[str] = ()) -> bool:
    """Return whether the workflow runs a node that names a model.

    Args:
        reference: Where the node names it.
        unneeded: Paths of the nodes that no output needs: ComfyUI does not run them.
    """
    return reference.active and reference.node_path not in unneeded


def is_skipped(finding: ModelFinding) -> bool:
    """Return whether ComfyUI runs a prompt without a model that is not there, as it does for an embedding."""
    return finding.reference.kind == "embedding" and finding.state not in _UNSKIPPED_STATES


def build_skipped_problem(finding: ModelFinding) -> FileProblem:
    """Build the problem of an embedding that ComfyUI leaves out of the text."""
    reference = finding.reference
    message = f"ComfyUI runs the text without the embedding {reference.value}, which it does not find. {finding.fix}"
    return FileProblem(EMBEDDING_SKIPPED, message, reference.node_path)


def find_inactive_models(findings: Iterable[ModelFinding], unneeded: Collection[str] = ()) -> tuple[InactiveModel, ...]:
    """Return the models that only muted or bypassed nodes, or nodes that no output needs, name.

    Args:
        findings: All findings of a workflow.
        unneeded: Paths of the nodes that no output needs.
    """
    findings = list(findings)
    required = {_model_key(finding.reference) for finding in findings if is_required(finding.reference, unneeded)}
    inactive = []
    for finding in findings:
        reference = finding.reference
        if not is_required(reference, unneeded) and _model_key(reference) not in required:
            inactive.append(InactiveModel(reference.value, reference.folder, reference.node_path, finding.state))
    return tuple(inactive)


def find_declared_candidates(reference: Reference, declared: Iterable[DeclaredModel]) -> tuple[ModelCandidate, ...]:
    """Return the addresses that the workflow's author gives for a model; proposals that nobody has verified."""
    candidates: dict[tuple[str, str], ModelCandidate] = {}
    for model in declared:
        # A node and the list at the end of the file often declare the same model.
        if model.url and _is_declaration_of(model, reference):
            candidates[(model.url, model.name)] = _build_candidate(model, model.url)
    return tuple(candidates.values())


def _model_key(reference: Reference) -> tuple[str | None, str]:
    return reference.folder, reference.value


def _is_declaration_of(model: DeclaredModel, reference: Reference) -> bool:
    names = {reference.value, basename(to_posix(reference.value))}
    return model.name in names and model.directory in {None, "", reference.folder}


def _build_candidate(model: DeclaredModel, url: str) -> ModelCandidate:
    is_sha256 = (model.hash_type or "").lower() == "sha256"
    return ModelCandidate(
        source="declared",
        url=strip_secrets(url),
        name=model.name,
        sha256=model.hash if is_sha256 else None,
        reason="declared by the workflow's author",
    )


def find_file_name(reference: Reference) -> str | None:
    """Return the name under which the server would find a model of a reference; None when no file can have it."""
    name = to_posix(reference.value)
    for tried in reference.tries:
        # The names of embeddings come without their extension.
        if tried == name or tried.startswith(f"{name}."):
            return tried
    return None


def _build_missing_model(
    finding: ModelFinding, declared: Sequence[DeclaredModel], find_target: Callable[[str], str]
) -> MissingModel:
    reference = finding.reference
    # For any other state a file is here already, so that an address would be no help.
    is_absent = finding.state is ModelState.MISSING
    declarations = find_declared_candidates(reference, declared)
    file_name = find_file_name(reference)
    target = None
    if reference.folder is not None and finding.state is not ModelState.UNRESOLVABLE:
        target = f"{find_target(reference.folder)}/{file_name or to_posix(reference.value)}"
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
        candidates=declarations if is_absent else (),
        obstacle=finding.obstacle,
        target=target,
        found_at=printable_path(finding.path) if finding.path is not None else None,
        needs_edit=reference.folder is not None and file_name is None,
        declared_url=declarations[0].url if declarations else None,
        declared_sha256=(declarations[0].sha256 or "").lower() or None if declarations else None,
    )
