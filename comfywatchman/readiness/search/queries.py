"""From what verdicts list as missing to what is looked for: each model once, with all that is said of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from comfywatchman.base.files import printable_path
from comfywatchman.comfyui.install.install import find_site_packages, list_manager_paths
from comfywatchman.comfyui.references.reference import Reference
from comfywatchman.comfyui.workflow.document import Workflow, WorkflowFormat
from comfywatchman.readiness.search.claims import ModelQuery, Proposal, build_query
from comfywatchman.readiness.search.context import SearchItem
from comfywatchman.readiness.search.local_evidence import (
    build_reference_query,
    read_catalogue_proposals,
    read_workflow_proposals,
)
from comfywatchman.readiness.search.verify import SearchPolicy
from comfywatchman.readiness.states import SEARCHED_STATES
from comfywatchman.readiness.status import MissingModel
from comfywatchman.readiness.workflow_facts import WorkflowFacts
from comfywatchman.sources.catalogue import Catalogue, find_model_list, find_template_folders, load_catalogue


@dataclass(slots=True)
class _ItemDraft:
    wanted: list[ModelQuery] = field(default_factory=list)
    evidence: dict[Proposal, None] = field(default_factory=dict)


def build_search_items(
    missing: Iterable[tuple[WorkflowFacts, MissingModel]],
    *,
    policy: SearchPolicy,
    catalogue: Catalogue | None = None,
    local_models: Mapping[str, str] | None = None,
) -> list[SearchItem]:
    """Return what is to be looked for, each name and folder once, in the order of first mention. Pure.

    Args:
        missing: What a workflow names, and one model that it lacks; states that need no file are passed over.
        policy: Which hosts' addresses are read.
        catalogue: What is installed and knows where models are; believed after the workflows' own words.
        local_models: Files of this host by SHA-256, for a note on bytes that lie here under another name.
    """
    gathered: dict[tuple[str | None, str], _ItemDraft] = {}
    for facts, model in missing:
        if model.status in SEARCHED_STATES:
            one = gathered.setdefault((model.folder, model.name), _ItemDraft())
            says = Workflow(WorkflowFormat.UI, facts.container, (), facts.declared, facts.links)
            wanted = _build_query(facts, model, says)
            one.wanted.append(wanted)
            one.evidence |= dict.fromkeys(read_workflow_proposals(says, wanted, extra_hosts=policy.extra_hosts))
    return [_build_item(one, catalogue, policy, local_models or {}) for one in gathered.values()]


def load_local_catalogue(root: Path, custom_nodes: Iterable[Path], *, cache: Path) -> Catalogue:
    """Return what the workflow templates and the Manager that are installed with a ComfyUI know of models.

    Args:
        root: ComfyUI's folder, with its environment beneath where it has one of its own.
        custom_nodes: Where node packs are.
        cache: Where the compact copy is kept.
    """
    model_list = find_model_list(list_manager_paths(root, custom_nodes))
    return load_catalogue(find_template_folders(find_site_packages(root)), model_list, cache=cache)


def _build_query(facts: WorkflowFacts, model: MissingModel, says: Workflow) -> ModelQuery:
    reference = next((one for one in facts.references if _is_reference_to(one, model)), None)
    return build_query(model.name, model.folder) if reference is None else build_reference_query(reference, says)


def _is_reference_to(reference: Reference, model: MissingModel) -> bool:
    return (reference.folder, reference.value) == (model.folder, model.name)


def _build_item(
    one: _ItemDraft, catalogue: Catalogue | None, policy: SearchPolicy, local_models: Mapping[str, str]
) -> SearchItem:
    first = one.wanted[0]
    # Workflows that declare different bytes under one name do not say which are meant.
    digests = {wanted.sha256 for wanted in one.wanted} - {None}
    digest = digests.pop() if len(digests) == 1 else None
    wanted = ModelQuery(first.filename, first.names, first.folder, digest)
    known = read_catalogue_proposals(catalogue, wanted, extra_hosts=policy.extra_hosts) if catalogue is not None else ()
    path = local_models.get(wanted.sha256 or "")
    notes = (f"This host has the declared bytes as {printable_path(path)}: link or copy that file.",) if path else ()
    return SearchItem(wanted, (*one.evidence, *known), notes)
