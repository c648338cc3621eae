"""Proposals that need no search: declarations and links of a workflow, and entries of local catalogues.

All of them are claims; `readiness.search.gather.verify_proposals` asks the hubs whether they are true.
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
from comfywatchman.sources.urls import NO_HOSTS, CivitaiAddress, HubAddress, HuggingFaceFile, find_urls, parse_hub_url

_MAX_CIVITAI_LINKS: Final = 12


def build_reference_query(reference: Reference, workflow: Workflow | None = None) -> ModelQuery:
    """Return the query for a model reference, with the hash that the workflow declares for it.

    Args:
        reference: The place that names the model.
        workflow: The workflow, for its declarations. A hash counts only if all declarations of the model agree.
    """
    query = build_query(reference.value, reference.folder, tries=reference.tries)
    digests = set()
    for model in workflow.declared if workflow is not None else ():
        digest = _parse_sha256(model)
        if digest is not None and _is_declaration_of(model, query):
            digests.add(digest)
    if len(digests) != 1:
        return query
    return build_query(reference.value, reference.folder, tries=reference.tries, sha256=digests.pop())


def read_workflow_proposals(
    workflow: Workflow, query: ModelQuery, *, extra_hosts: frozenset[str] = NO_HOSTS
) -> tuple[Proposal, ...]:
    """Return a workflow's own proposals for a model: its declarations, then the links in its notes.

    Args:
        workflow: The workflow.
        query: The model.
        extra_hosts: As for `sources.urls.parse_hub_url`.
    """
    declarations = _read_declarations(workflow.declared, query, extra_hosts)
    links = _read_note_links(workflow.notes, query, extra_hosts)
    return tuple(dict.fromkeys((*declarations, *links)))


def read_catalogue_proposals(
    catalogue: Catalogue, query: ModelQuery, *, extra_hosts: frozenset[str] = NO_HOSTS
) -> tuple[Proposal, ...]:
    """Return the proposals of local catalogues for a model.

    Args:
        catalogue: The catalogues.
        query: The model.
        extra_hosts: As for `sources.urls.parse_hub_url`.
    """
    proposals: dict[Proposal, None] = {}
    for entry in catalogue.find_by_name(query.names):
        proposal = _build_proposal(
            "catalogue", entry.catalogue, entry.url, extra_hosts=extra_hosts, name=entry.name, sha256=entry.sha256
        )
        proposals[proposal] = None
    return tuple(proposals)


def _read_declarations(
    models: Iterable[DeclaredModel], query: ModelQuery, extra_hosts: frozenset[str]
) -> Iterator[Proposal]:
    for model in models:
        if not model.url or not _is_declaration_of(model, query):
            continue
        origin = f"the workflow's node {model.node_path}" if model.node_path else "the workflow's list of models"
        name, sha256 = base_name(model.name), _parse_sha256(model)
        yield _build_proposal("workflow", origin, model.url, extra_hosts=extra_hosts, name=name, sha256=sha256)


def _read_note_links(notes: Iterable[str], query: ModelQuery, extra_hosts: frozenset[str]) -> Iterator[Proposal]:
    """Yield the links that may lead to the model: files of its name, and all pages of Civitai.

    The URL of a Civitai page holds no file name, so whether it is the model shows only on the hub.
    """
    urls = dict.fromkeys(url for note in notes for url in find_urls(note))
    civitai_links = 0
    for url in urls:
        address = parse_hub_url(url, extra_hosts=extra_hosts)
        if isinstance(address, CivitaiAddress):
            civitai_links += 1
            # Each costs a request for each model of the workflow.
            if civitai_links <= _MAX_CIVITAI_LINKS:
                yield _build_proposal("note", "a note in the workflow", url, extra_hosts=extra_hosts)
            continue
        name = _extract_file_name(url, address)
        if any(is_same_name(wanted, name) or is_precision_variant(wanted, name) for wanted in query.names):
            yield _build_proposal("note", "a note in the workflow", url, extra_hosts=extra_hosts, name=name)


def _build_proposal(
    by: ProposedBy, origin: str, url: str, *, extra_hosts: frozenset[str], name: str = "", sha256: str | None = None
) -> Proposal:
    address = parse_hub_url(url, extra_hosts=extra_hosts)
    ids = NO_HUB_IDS
    if isinstance(address, HuggingFaceFile):
        ids = HubIds(repo=address.repo, revision=address.revision, path=address.path)
    elif isinstance(address, CivitaiAddress):
        ids = HubIds(civitai_model=address.model_id, civitai_version=address.version_id, civitai_file=address.file_id)
    else:
        # Without ids, the URL is all that a person can look at.
        origin = f"{origin} ({printable_url(url)})"
    # An identifier is no URL, and holds no secret.
    shown = url if url.lower().startswith("urn:air:") else printable_url(url)
    return Proposal(by, origin, ids, name=name, sha256=sha256, url=shown)


def _extract_file_name(url: str, address: HubAddress | None) -> str:
    if isinstance(address, HuggingFaceFile):
        return base_name(address.path)
    try:
        return base_name(urlsplit(url).path)
    except ValueError:
        return ""


def _is_declaration_of(model: DeclaredModel, query: ModelQuery) -> bool:
    return any(is_same_name(base_name(model.name), name) for name in query.names)


def _parse_sha256(model: DeclaredModel) -> str | None:
    if model.hash and (model.hash_type or "").lower() == "sha256":
        return model.hash.lower()
    return None
