"""Evidence that needs no search: what a workflow declares, what its notes link to, what local catalogues list.

All of it is claims; `readiness.search.gather.verify` asks the hubs whether they are true.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import urlsplit

from comfywatchman.base.address import printable_url
from comfywatchman.comfyui.references.reference import Reference
from comfywatchman.comfyui.workflow.document import DeclaredModel, Workflow
from comfywatchman.readiness.search.claims import ModelQuery, Proposal, ProposedBy, build_query
from comfywatchman.readiness.search.results import NO_HUB_IDS, HubIds
from comfywatchman.sources.catalogue import Catalogue
from comfywatchman.sources.file_names import base_name, is_precision_variant, is_same_name
from comfywatchman.sources.urls import NO_HOSTS, CivitaiAddress, HuggingFaceFile, find_urls, parse_hub_url

_MAX_CIVITAI_LINKS: Final = 12


def build_reference_query(reference: Reference, workflow: Workflow | None = None) -> ModelQuery:
    """Return what is looked for where a workflow names a model, with the hash that the workflow declares for it.

    Args:
        reference: The place that names it.
        workflow: The workflow, for its declarations; a hash counts only when all that it declares agree.
    """
    wanted = build_query(reference.value, reference.folder, tries=reference.tries)
    declared = workflow.declared if workflow is not None else ()
    digests = {_declared_sha256(model) for model in declared if _is_declaration_of(model, wanted)} - {None}
    if len(digests) != 1:
        return wanted
    return build_query(reference.value, reference.folder, tries=reference.tries, sha256=digests.pop())


def read_workflow_proposals(
    workflow: Workflow, wanted: ModelQuery, *, extra_hosts: frozenset[str] = NO_HOSTS
) -> tuple[Proposal, ...]:
    """Return what a workflow itself says of where a model comes from: its declarations, then links in its notes.

    Args:
        workflow: The workflow.
        wanted: The model.
        extra_hosts: As for `sources.urls.hub_place`.
    """
    found = [
        *_read_declarations(workflow.declared, wanted, extra_hosts),
        *_read_note_links(workflow.notes, wanted, extra_hosts),
    ]
    return tuple(dict.fromkeys(found))


def read_catalogue_proposals(
    catalogue: Catalogue, wanted: ModelQuery, *, extra_hosts: frozenset[str] = NO_HOSTS
) -> tuple[Proposal, ...]:
    """Return what local catalogues say of where a model comes from.

    Args:
        catalogue: The catalogues.
        wanted: The model.
        extra_hosts: As for `sources.urls.hub_place`.
    """
    found = (
        _build_proposal(
            "catalogue", entry.catalogue, entry.url, extra_hosts=extra_hosts, name=entry.name, sha256=entry.sha256
        )
        for entry in catalogue.find_by_name(wanted.names)
    )
    return tuple(dict.fromkeys(found))


def _read_declarations(
    models: Iterable[DeclaredModel], wanted: ModelQuery, extra_hosts: frozenset[str]
) -> Iterator[Proposal]:
    for model in models:
        if model.url and _is_declaration_of(model, wanted):
            who = f"the workflow's node {model.node_path}" if model.node_path else "the workflow's list of models"
            name, sha256 = base_name(model.name), _declared_sha256(model)
            yield _build_proposal("workflow", who, model.url, extra_hosts=extra_hosts, name=name, sha256=sha256)


def _read_note_links(notes: Iterable[str], wanted: ModelQuery, extra_hosts: frozenset[str]) -> Iterator[Proposal]:
    """Give the links that can mean the model: a file of its name, or any page of Civitai, whose files have names."""
    left = _MAX_CIVITAI_LINKS
    for address in dict.fromkeys(address for note in notes for address in find_urls(note)):
        place = parse_hub_url(address, extra_hosts=extra_hosts)
        name = _extract_file_name(address, place)
        if isinstance(place, CivitaiAddress):
            left -= 1
            if left >= 0:
                yield _build_proposal("note", "a note in the workflow", address, extra_hosts=extra_hosts)
        elif any(is_same_name(one, name) or is_precision_variant(one, name) for one in wanted.names):
            yield _build_proposal("note", "a note in the workflow", address, extra_hosts=extra_hosts, name=name)


def _build_proposal(
    by: ProposedBy, who: str, url: str, *, extra_hosts: frozenset[str], name: str = "", sha256: str | None = None
) -> Proposal:
    place = parse_hub_url(url, extra_hosts=extra_hosts)
    ids = NO_HUB_IDS
    if isinstance(place, HuggingFaceFile):
        ids = HubIds(repo=place.repo, revision=place.revision, path=place.path)
    elif isinstance(place, CivitaiAddress):
        ids = HubIds(civitai_model=place.model_id, civitai_version=place.version_id, civitai_file=place.file_id)
    else:
        who = f"{who} ({printable_url(url)})"
    return Proposal(by, who, ids, name=name, sha256=sha256, url=printable_url(url))


def _extract_file_name(address: str, place: HuggingFaceFile | CivitaiAddress | None) -> str:
    if isinstance(place, HuggingFaceFile):
        return base_name(place.path)
    try:
        return base_name(urlsplit(address).path)
    except ValueError:
        return ""


def _is_declaration_of(model: DeclaredModel, wanted: ModelQuery) -> bool:
    return any(is_same_name(base_name(model.name), name) for name in wanted.names)


def _declared_sha256(model: DeclaredModel) -> str | None:
    return model.hash.lower() if model.hash and (model.hash_type or "").lower() == "sha256" else None
