"""From what verdicts list as missing to what is looked for: each model once, with all that is said of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from comfywatchman.base.files import show_path
from comfywatchman.comfyui.install.install import manager_places, site_packages
from comfywatchman.comfyui.references.reference import Reference
from comfywatchman.comfyui.workflow.document import Format, Workflow
from comfywatchman.readiness.search.chain import Sought
from comfywatchman.readiness.search.claims import Proposal, Wanted, wanted_model
from comfywatchman.readiness.search.local_evidence import proposals_of_catalogue, proposals_of_workflow, wanted_of
from comfywatchman.readiness.search.verify import Policy
from comfywatchman.readiness.states import SOUGHT
from comfywatchman.readiness.status import MissingModel
from comfywatchman.readiness.workflow_facts import Facts
from comfywatchman.sources.catalogue import Catalogue, find_model_list, find_templates, load_catalogue


@dataclass(slots=True)
class _Gathered:
    wanted: list[Wanted] = field(default_factory=list)
    evidence: dict[Proposal, None] = field(default_factory=dict)


def sought_models(
    missing: Iterable[tuple[Facts, MissingModel]],
    *,
    policy: Policy,
    catalogue: Catalogue | None = None,
    here: Mapping[str, str] | None = None,
) -> list[Sought]:
    """Return what is to be looked for, each name and folder once, in the order of first mention. Pure.

    Args:
        missing: What a workflow names, and one model that it lacks; states that need no file are passed over.
        policy: Which hosts' addresses are read.
        catalogue: What is installed and knows where models are; believed after the workflows' own words.
        here: Files of this host by SHA-256, for a note on bytes that lie here under another name.
    """
    gathered: dict[tuple[str | None, str], _Gathered] = {}
    for facts, model in missing:
        if model.status in SOUGHT:
            one = gathered.setdefault((model.folder, model.name), _Gathered())
            says = Workflow(Format.UI, facts.container, (), facts.declared, facts.links)
            wanted = _wanted(facts, model, says)
            one.wanted.append(wanted)
            one.evidence |= dict.fromkeys(proposals_of_workflow(says, wanted, extra_hosts=policy.extra_hosts))
    return [_sought(one, catalogue, policy, here or {}) for one in gathered.values()]


def local_catalogue(root: Path, custom_nodes: Iterable[Path], *, cache: Path) -> Catalogue:
    """Return what the workflow templates and the Manager that are installed with a ComfyUI know of models.

    Args:
        root: ComfyUI's folder, with its environment beneath where it has one of its own.
        custom_nodes: Where node packs are.
        cache: Where the compact copy is kept.
    """
    model_list = find_model_list(manager_places(root, custom_nodes))
    return load_catalogue(find_templates(site_packages(root)), model_list, cache=cache)


def _wanted(facts: Facts, model: MissingModel, says: Workflow) -> Wanted:
    reference = next((one for one in facts.references if _is_of(one, model)), None)
    return wanted_model(model.name, model.folder) if reference is None else wanted_of(reference, says)


def _is_of(reference: Reference, model: MissingModel) -> bool:
    return (reference.folder, reference.value) == (model.folder, model.name)


def _sought(one: _Gathered, catalogue: Catalogue | None, policy: Policy, here: Mapping[str, str]) -> Sought:
    first = one.wanted[0]
    # Workflows that declare different bytes under one name do not say which are meant.
    digests = {wanted.sha256 for wanted in one.wanted} - {None}
    digest = digests.pop() if len(digests) == 1 else None
    wanted = Wanted(first.filename, first.names, first.folder, digest)
    known = proposals_of_catalogue(catalogue, wanted, extra_hosts=policy.extra_hosts) if catalogue is not None else ()
    path = here.get(wanted.sha256 or "")
    notes = (f"This host has the declared bytes as {show_path(path)}: link or copy that file.",) if path else ()
    return Sought(wanted, (*one.evidence, *known), notes)
