from __future__ import annotations

from collections.abc import Iterator

import pytest

from comfywatchman.base.http import HttpSession
from comfywatchman.comfyui.references.reference import Reference
from comfywatchman.comfyui.workflow.document import DeclaredModel, Workflow, WorkflowFormat
from comfywatchman.readiness.search.claims import build_query
from comfywatchman.readiness.search.gather import Hubs, verify_proposals
from comfywatchman.readiness.search.local_evidence import (
    build_reference_query,
    read_catalogue_proposals,
    read_workflow_proposals,
)
from comfywatchman.readiness.search.results import HubIds, SearchResult, SearchStatus
from comfywatchman.readiness.search.verify import SearchPolicy
from comfywatchman.readiness.states import SearchDoubt
from comfywatchman.sources.catalogue import Catalogue, CatalogueEntry
from comfywatchman.sources.civitai.client import Civitai
from comfywatchman.sources.huggingface import HuggingFace
from tests.servers.civitai import CivitaiServer, file_json, model_json, version_json
from tests.servers.huggingface import HubFile, HuggingFaceServer, Repo

NAME = "ae.safetensors"
URL = f"https://huggingface.co/Comfy-Org/z/resolve/main/split/vae/{NAME}"
IDS = HubIds(repo="Comfy-Org/z", revision="main", path=f"split/vae/{NAME}")
WANTED = build_query(NAME, "vae")
A, B = "a" * 64, "b" * 64


def declared(
    name: str = NAME,
    url: str | None = URL,
    *,
    digest: str | None = None,
    kind: str | None = "SHA256",
    node: str = "12:5",
) -> DeclaredModel:
    return DeclaredModel(name, url, "vae", digest, kind, node or None)


def workflow(*models: DeclaredModel, notes: tuple[str, ...] = ()) -> Workflow:
    return Workflow(WorkflowFormat.UI, "json", (), models, notes)


def reference(value: str = NAME) -> Reference:
    return Reference("12:5", "VAELoader", "vae_name", value, "vae", True, "loader", "", "high", (value,))


def test_a_declaration_is_a_proposal_of_its_node() -> None:
    found = read_workflow_proposals(workflow(declared(), declared("other_1.safetensors"), declared(url=None)), WANTED)
    assert [(one.by, one.ids, one.name) for one in found] == [("workflow", IDS, NAME)]
    assert found[0].origin == "the workflow's node 12:5"
    listed = read_workflow_proposals(workflow(declared("sub\\AE.safetensors", node="")), WANTED)
    assert [(one.origin, one.name) for one in listed] == [("the workflow's list of models", "AE.safetensors")]


def test_declared_hashes_count_when_they_agree_and_are_sha256() -> None:
    assert build_reference_query(reference()).sha256 is None
    assert build_reference_query(reference(), workflow(declared(digest=A.upper()), declared())).sha256 == A
    assert build_reference_query(reference(), workflow(declared(digest=A), declared(digest=B))).sha256 is None
    assert (
        build_reference_query(
            reference(), workflow(declared(digest=A, kind="MD5"), declared(digest=A, kind=None))
        ).sha256
        is None
    )
    assert build_reference_query(reference("other_1.safetensors"), workflow(declared(digest=A))).sha256 is None
    assert build_reference_query(reference("FLUX\\ae.safetensors")).names == (NAME,)


def test_links_in_notes_are_proposals_when_they_can_mean_the_model() -> None:
    note = f"VAE: [here]({URL}) LoRA: https://civitai.com/models/5?modelVersionId=6 https://huggingface.co/docs/x"
    others = (
        "https://github.com/a/b/ae.safetensors https://github.com/a/b/other.safetensors https://[broken/ae.safetensors"
    )
    found = read_workflow_proposals(workflow(notes=(note, others, note)), WANTED)
    assert [(one.by, one.ids, one.name) for one in found] == [
        ("note", IDS, NAME),
        ("note", HubIds(civitai_model=5, civitai_version=6), ""),
        ("note", HubIds(), NAME),
    ]
    assert found[2].origin == "a note in the workflow (https://github.com/a/b/ae.safetensors)"


def test_a_note_full_of_links_is_read_to_a_bound() -> None:
    note = " ".join(f"https://civitai.com/models/{n}" for n in range(1, 99))
    assert len(read_workflow_proposals(workflow(notes=(note,)), WANTED)) == 12


def test_catalogues_propose_what_they_keep_under_the_name() -> None:
    entry = CatalogueEntry("AE.safetensors", URL, "the list", sha256=A)
    elsewhere = CatalogueEntry(NAME, "https://user:secret@github.com/ae.safetensors?token=secret", "the list")
    found = read_catalogue_proposals(Catalogue("", {NAME: (entry, elsewhere)}), WANTED)
    assert [(one.by, one.ids, one.sha256) for one in found] == [("catalogue", IDS, A), ("catalogue", HubIds(), None)]
    assert found[1].origin == "the list (https://github.com/ae.safetensors)"
    assert "secret" not in repr(found)


@pytest.fixture
def servers() -> Iterator[tuple[CivitaiServer, HuggingFaceServer]]:
    with CivitaiServer() as civitai, HuggingFaceServer() as huggingface:
        yield civitai, huggingface


def answer(
    servers: tuple[CivitaiServer, HuggingFaceServer], held: Workflow, value: str, folder: str = "vae"
) -> SearchResult:
    civitai, huggingface = servers
    hosts = frozenset(f"127.0.0.1:{server.port}" for server in servers)
    wanted = build_query(value, folder)
    with HttpSession(timeout_seconds=60) as session:
        hubs = Hubs(Civitai(session, civitai.url, None), HuggingFace(session, huggingface.url))
        proposals = read_workflow_proposals(held, wanted, extra_hosts=hosts)
        return verify_proposals(
            wanted, proposals, hubs, policy=SearchPolicy(extra_hosts=hosts), searched_at="2026-11-20T14:00:00Z"
        )


def test_what_a_workflow_declares_is_found_once_the_hub_confirms_it(
    servers: tuple[CivitaiServer, HuggingFaceServer],
) -> None:
    huggingface = servers[1]
    huggingface.repos["o/n"] = Repo({"vae/renamed.safetensors": HubFile(size=300 << 20, sha256=A)})
    url = f"{huggingface.url}/o/n/resolve/main/vae/renamed.safetensors"
    result = answer(servers, workflow(declared(url=url + "?download=true")), NAME)
    assert (result.status, result.sha256, result.confidence) == (SearchStatus.FOUND, A, "declared")
    assert answer(servers, workflow(declared(url=url, digest=A)), NAME).status is SearchStatus.FOUND
    assert answer(servers, workflow(declared(url=url, digest=B)), NAME).status is SearchStatus.UNCERTAIN
    gone = workflow(declared(url=url.replace("renamed", "gone")))
    assert answer(servers, gone, NAME).status is SearchStatus.NOT_FOUND


def test_a_civitai_link_in_a_note_answers_for_the_file_of_that_name_only(
    servers: tuple[CivitaiServer, HuggingFaceServer],
) -> None:
    civitai = servers[0]
    version = version_json([file_json("style_v3.safetensors")])
    civitai.models = [model_json("Style", [version])]
    held = workflow(notes=(f"LoRA: {civitai.url}/api/download/models/{version['id']}",))
    assert answer(servers, held, "style_v3.safetensors", "loras").status is SearchStatus.FOUND
    other = answer(servers, held, "quite_other_v1.safetensors", "loras")
    assert (other.doubt, other.candidates) == (SearchDoubt.NO_MATCH, ())
