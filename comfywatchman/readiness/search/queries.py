"""Builds the search items for missing models: each model once, with all that workflows and catalogues claim."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from comfywatchman.base.files import printable_path
from comfywatchman.comfyui.install.install import find_site_packages, list_manager_paths
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
    """What all workflows say about one missing model."""

    queries: list[ModelQuery] = field(default_factory=list)
    proposals: dict[Proposal, None] = field(default_factory=dict)


def build_search_items(
    missing: Iterable[tuple[WorkflowFacts, MissingModel]],
    *,
    policy: SearchPolicy,
    catalogue: Catalogue | None = None,
    local_models: Mapping[str, str] | None = None,
) -> list[SearchItem]:
    """Return the models to search for, each name and folder once, in order of first mention. Pure.

    Args:
        missing: Facts of a workflow, with one model that it lacks. Models that need no other file are left out.
        policy: Hosts whose URLs are parsed.
        catalogue: Catalogues installed with ComfyUI; trusted less than the workflows' own declarations.
        local_models: Files of this host by SHA-256, to note that the declared bytes are here under another name.
    """
    drafts: dict[tuple[str | None, str], _ItemDraft] = {}
    for facts, model in missing:
        if model.status not in SEARCHED_STATES:
            continue
        draft = drafts.setdefault((model.folder, model.name), _ItemDraft())
        # Declarations and notes are all that the proposals need, so the nodes are left out.
        workflow = Workflow(WorkflowFormat.UI, facts.container, (), facts.declared, facts.links)
        query = _build_query(facts, model, workflow)
        proposals = read_workflow_proposals(workflow, query, extra_hosts=policy.extra_hosts)
        draft.queries.append(query)
        draft.proposals.update(dict.fromkeys(proposals))
    return [_build_item(draft, catalogue, policy, local_models or {}) for draft in drafts.values()]


def load_local_catalogue(root: Path, custom_nodes: Iterable[Path], *, cache: Path) -> Catalogue:
    """Return the model catalogues installed with a ComfyUI: its workflow templates, and the list of its Manager.

    Args:
        root: ComfyUI's folder, with its environment below it if it has one of its own.
        custom_nodes: Folders of node packs.
        cache: Path of the compact copy.
    """
    model_list = find_model_list(list_manager_paths(root, custom_nodes))
    return load_catalogue(find_template_folders(find_site_packages(root)), model_list, cache=cache)


def _build_query(facts: WorkflowFacts, model: MissingModel, workflow: Workflow) -> ModelQuery:
    for reference in facts.references:
        if (reference.folder, reference.value) == (model.folder, model.name):
            return build_reference_query(reference, workflow)
    return build_query(model.name, model.folder)


def _build_item(
    draft: _ItemDraft, catalogue: Catalogue | None, policy: SearchPolicy, local_models: Mapping[str, str]
) -> SearchItem:
    first = draft.queries[0]
    # If workflows declare different bytes under one name, it is unknown which are meant.
    digests = {query.sha256 for query in draft.queries if query.sha256 is not None}
    digest = digests.pop() if len(digests) == 1 else None
    query = replace(first, sha256=digest)
    proposals = tuple(draft.proposals)
    if catalogue is not None:
        proposals += read_catalogue_proposals(catalogue, query, extra_hosts=policy.extra_hosts)
    local_path = local_models.get(digest) if digest is not None else None
    notes: tuple[str, ...] = ()
    if local_path:
        notes = (f"This host has the declared bytes as {printable_path(local_path)}: link or copy that file.",)
    return SearchItem(query, proposals, notes)
