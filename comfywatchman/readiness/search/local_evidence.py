"""Evidence that needs no search: what a workflow declares, what its notes link to, what local catalogues list.

All of it is claims; `readiness.search.gather.verify` asks the hubs whether they are true.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import urlsplit

from comfywatchman.base.address import show_url
from comfywatchman.comfyui.references.reference import Reference
from comfywatchman.comfyui.workflow.document import DeclaredModel, Workflow
from comfywatchman.readiness.search.claims import Proposal, ProposedBy, Wanted, wanted_model
from comfywatchman.readiness.search.results import NO_IDS, Ids
from comfywatchman.sources.catalogue import Catalogue
from comfywatchman.sources.file_names import base_name, is_precision_variant, same_name
from comfywatchman.sources.urls import NO_HOSTS, CivitaiPlace, HuggingFaceFile, addresses_in, hub_place

_MOST_CIVITAI_LINKS: Final = 12


def wanted_of(reference: Reference, workflow: Workflow | None = None) -> Wanted:
    """Return what is looked for where a workflow names a model, with the hash that the workflow declares for it.

    Args:
        reference: The place that names it.
        workflow: The workflow, for its declarations; a hash counts only when all that it declares agree.
    """
    wanted = wanted_model(reference.value, reference.folder, tries=reference.tries)
    declared = workflow.declared if workflow is not None else ()
    digests = {_sha256(model) for model in declared if _is_for(model, wanted)} - {None}
    if len(digests) != 1:
        return wanted
    return wanted_model(reference.value, reference.folder, tries=reference.tries, sha256=digests.pop())


def proposals_of_workflow(
    workflow: Workflow, wanted: Wanted, *, extra_hosts: frozenset[str] = NO_HOSTS
) -> tuple[Proposal, ...]:
    """Return what a workflow itself says of where a model comes from: its declarations, then links in its notes.

    Args:
        workflow: The workflow.
        wanted: The model.
        extra_hosts: As for `sources.urls.hub_place`.
    """
    found = [*_declared(workflow.declared, wanted, extra_hosts), *_linked(workflow.notes, wanted, extra_hosts)]
    return tuple(dict.fromkeys(found))


def proposals_of_catalogue(
    catalogue: Catalogue, wanted: Wanted, *, extra_hosts: frozenset[str] = NO_HOSTS
) -> tuple[Proposal, ...]:
    """Return what local catalogues say of where a model comes from.

    Args:
        catalogue: The catalogues.
        wanted: The model.
        extra_hosts: As for `sources.urls.hub_place`.
    """
    found = (
        _proposal(
            "catalogue", entry.catalogue, entry.url, extra_hosts=extra_hosts, name=entry.name, sha256=entry.sha256
        )
        for entry in catalogue.named(wanted.names)
    )
    return tuple(dict.fromkeys(found))


def _declared(models: Iterable[DeclaredModel], wanted: Wanted, extra_hosts: frozenset[str]) -> Iterator[Proposal]:
    for model in models:
        if model.url and _is_for(model, wanted):
            who = f"the workflow's node {model.node_path}" if model.node_path else "the workflow's list of models"
            name, sha256 = base_name(model.name), _sha256(model)
            yield _proposal("workflow", who, model.url, extra_hosts=extra_hosts, name=name, sha256=sha256)


def _linked(notes: Iterable[str], wanted: Wanted, extra_hosts: frozenset[str]) -> Iterator[Proposal]:
    """Give the links that can mean the model: a file of its name, or any page of Civitai, whose files have names."""
    left = _MOST_CIVITAI_LINKS
    for address in dict.fromkeys(address for note in notes for address in addresses_in(note)):
        place = hub_place(address, extra_hosts=extra_hosts)
        name = _name_in(address, place)
        if isinstance(place, CivitaiPlace):
            left -= 1
            if left >= 0:
                yield _proposal("note", "a note in the workflow", address, extra_hosts=extra_hosts)
        elif any(same_name(one, name) or is_precision_variant(one, name) for one in wanted.names):
            yield _proposal("note", "a note in the workflow", address, extra_hosts=extra_hosts, name=name)


def _proposal(
    by: ProposedBy, who: str, url: str, *, extra_hosts: frozenset[str], name: str = "", sha256: str | None = None
) -> Proposal:
    place = hub_place(url, extra_hosts=extra_hosts)
    ids = NO_IDS
    if isinstance(place, HuggingFaceFile):
        ids = Ids(repo=place.repo, revision=place.revision, path=place.path)
    elif isinstance(place, CivitaiPlace):
        ids = Ids(civitai_model=place.model_id, civitai_version=place.version_id, civitai_file=place.file_id)
    else:
        who = f"{who} ({show_url(url)})"
    return Proposal(by, who, ids, name=name, sha256=sha256, url=show_url(url))


def _name_in(address: str, place: HuggingFaceFile | CivitaiPlace | None) -> str:
    if isinstance(place, HuggingFaceFile):
        return base_name(place.path)
    try:
        return base_name(urlsplit(address).path)
    except ValueError:
        return ""


def _is_for(model: DeclaredModel, wanted: Wanted) -> bool:
    return any(same_name(base_name(model.name), name) for name in wanted.names)


def _sha256(model: DeclaredModel) -> str | None:
    return model.hash.lower() if model.hash and (model.hash_type or "").lower() == "sha256" else None
