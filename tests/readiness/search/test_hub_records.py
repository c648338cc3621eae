"""What declared places prove: moved, gone, hidden, archived and closed files, through local servers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from comfywatchman.base.http import HttpSession
from comfywatchman.readiness.search.absence import RepositoryListing, UnknownHash
from comfywatchman.readiness.search.claims import Proposal, ProposedBy, build_query
from comfywatchman.readiness.search.gather import Hubs, search_civitai, search_hugging_face, verify_proposals
from comfywatchman.readiness.search.results import HubIds, SearchResult, SearchStatus
from comfywatchman.readiness.search.verify import SearchPolicy
from comfywatchman.readiness.states import SearchDoubt
from comfywatchman.sources.civitai.client import Civitai
from comfywatchman.sources.huggingface import HuggingFace
from tests.servers.base import Reply
from tests.servers.civitai import CivitaiServer, file_json, model_json, sha256_of, version_json
from tests.servers.huggingface import HubFile, HuggingFaceServer, Repo

NAME = "detail_tweaker.safetensors"
DIGEST = sha256_of(NAME).lower()
FILE = HubFile(size=5 << 20, sha256=DIGEST)
AT = "2026-11-20T14:00:00Z"
ERROR_401 = Reply(b'{"error": "Unauthorized"}', 401)
ERROR_403 = Reply(b'{"error": "Forbidden"}', 403)


@dataclass
class Sites:
    """The servers, and the clients of them."""

    civitai: CivitaiServer
    hugging_face: HuggingFaceServer
    hubs: Hubs
    policy: SearchPolicy

    def verify(self, ids: HubIds, by: ProposedBy = "workflow", name: str = NAME) -> SearchResult:
        claim = Proposal(by, "node 3", ids, name)
        wanted = build_query(NAME, "loras")
        return verify_proposals(wanted, [claim], self.hubs, policy=self.policy, searched_at=AT)

    def search_civitai(self, name: str = NAME, sha256: str | None = None) -> SearchResult:
        wanted = build_query(name, "loras", sha256=sha256)
        return search_civitai(wanted, self.hubs, policy=self.policy, searched_at=AT)

    def search_hugging_face(self, name: str = NAME) -> SearchResult:
        return search_hugging_face(build_query(name, "loras"), self.hubs, policy=self.policy, searched_at=AT)


@pytest.fixture
def sites() -> Iterator[Sites]:
    with (
        CivitaiServer() as civitai,
        HuggingFaceServer() as hugging_face,
        HttpSession(timeout_seconds=60) as session,
    ):
        hubs = Hubs(Civitai(session, civitai.url, None), HuggingFace(session, hugging_face.url))
        hosts = frozenset(f"127.0.0.1:{server.port}" for server in (civitai, hugging_face))
        yield Sites(civitai, hugging_face, hubs, SearchPolicy(extra_hosts=hosts))


def declared(path: str = f"old/{NAME}", revision: str = "main") -> HubIds:
    return HubIds(repo="o/n", revision=revision, path=path)


def put_model(sites: Sites, *files: dict[str, Any], **changes: Any) -> dict[str, Any]:
    model = model_json("Detail Tweaker", [version_json(files)], **changes)
    sites.civitai.models.append(model)
    return model


def test_declared_file_is_found_where_it_was_moved_to(sites: Sites) -> None:
    sites.hugging_face.repos["o/n"] = Repo({f"new/{NAME}": FILE})
    result = sites.verify(declared())
    assert (result.status, result.sha256, result.ids.path) == (SearchStatus.FOUND, DIGEST, f"new/{NAME}")


def test_declared_file_that_is_stored_under_another_name_is_found_where_it_was_moved_to(sites: Sites) -> None:
    sites.hugging_face.repos["o/n"] = Repo({"new/stored.safetensors": FILE})
    result = sites.verify(declared("old/stored.safetensors"))
    assert (result.status, result.ids.path) == (SearchStatus.FOUND, "new/stored.safetensors")


@pytest.mark.parametrize("revision", ["main", "v1", "b" * 40])
def test_complete_listing_of_the_declared_repository_proves_absence(sites: Sites, revision: str) -> None:
    sites.hugging_face.repos["o/n"] = Repo({f"{n}.safetensors": HubFile(b"x%d" % n) for n in range(5)})
    result = sites.verify(declared(revision=revision))
    assert (result.status, result.doubt) == (SearchStatus.NOT_FOUND, None)
    (proof,) = result.absence
    assert proof == RepositoryListing("huggingface", "o/n", (NAME,), 5, ("main",))


@pytest.mark.parametrize("by", ["note", "catalogue", "model"])
def test_listing_of_a_repository_that_is_not_declared_proves_nothing(sites: Sites, by: ProposedBy) -> None:
    sites.hugging_face.repos["o/n"] = Repo({"x.safetensors": FILE})
    assert sites.verify(declared(), by).doubt is SearchDoubt.NO_MATCH
    assert sites.verify(HubIds(repo="o/n"), by).doubt is SearchDoubt.NO_MATCH


def test_failing_list_of_the_declared_repository_is_an_error(sites: Sites) -> None:
    sites.hugging_face.repos["o/n"] = Repo({"x.safetensors": FILE})
    gone = {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
    sites.hugging_face.pages[f"/o/n/resolve/main/old/{NAME}"] = Reply(b"", 404, gone)
    sites.hugging_face.pages["/api/models/o/n/tree/main"] = Reply(b"", 500)
    assert sites.verify(declared()).status is SearchStatus.ERROR


@pytest.mark.parametrize(
    ("repo", "doubt"),
    [
        (None, SearchDoubt.PRIVATE_OR_GONE),
        (Repo({NAME: FILE}, private=True), SearchDoubt.PRIVATE_OR_GONE),
        (Repo({NAME: FILE}, gated=True), SearchDoubt.ACCESS_RESTRICTED),
        (Repo({NAME: FILE}, disabled=True), SearchDoubt.TAKEN_DOWN),
    ],
    ids=["absent", "private", "gated", "taken down"],
)
def test_closed_repository_is_a_doubt_of_its_own(sites: Sites, repo: Repo | None, doubt: SearchDoubt) -> None:
    if repo is not None:
        sites.hugging_face.repos["o/n"] = repo
    result = sites.verify(declared(NAME))
    assert (result.status, result.doubt, result.has_choice) == (SearchStatus.UNCERTAIN, doubt, False)


def test_denied_access_to_a_declared_place_is_a_doubt(sites: Sites) -> None:
    sites.civitai.pages["/api/v1/model-versions/7"] = ERROR_403
    assert sites.verify(HubIds(civitai_version=7)).doubt is SearchDoubt.PRIVATE_OR_GONE
    sites.civitai.pages["/api/v1/model-versions/7"] = ERROR_401
    assert sites.verify(HubIds(civitai_version=7)).status is SearchStatus.ERROR


@pytest.mark.parametrize("ids", [HubIds(civitai_version=7), HubIds(civitai_model=7)])
def test_declared_version_that_civitai_does_not_show_is_private_or_gone(sites: Sites, ids: HubIds) -> None:
    assert sites.verify(ids).doubt is SearchDoubt.PRIVATE_OR_GONE
    assert sites.verify(ids, "note").doubt is SearchDoubt.NO_MATCH


def test_declared_version_without_the_file_proves_absence(sites: Sites) -> None:
    version = put_model(sites, file_json("other.safetensors"))["modelVersions"][0]
    result = sites.verify(HubIds(civitai_version=version["id"], civitai_file=1))
    assert result.status is SearchStatus.NOT_FOUND
    assert result.absence == (RepositoryListing("civitai", f"version {version['id']}", (NAME,), 1),)


def test_declared_file_that_was_uploaded_again_is_found_by_its_name(sites: Sites) -> None:
    version = put_model(sites, file_json(NAME))["modelVersions"][0]
    result = sites.verify(HubIds(civitai_version=version["id"], civitai_file=1))
    assert (result.status, result.sha256) == (SearchStatus.FOUND, DIGEST)


WITHDRAWN = [("Archived", SearchDoubt.ARCHIVED_BY_AUTHOR), ("TakenDown", SearchDoubt.TAKEN_DOWN)]


@pytest.mark.parametrize(("mode", "doubt"), WITHDRAWN)
@pytest.mark.parametrize("files", [(), (file_json(NAME),)], ids=["files left out", "files listed"])
def test_withdrawn_model_is_a_doubt(
    sites: Sites, mode: str, doubt: SearchDoubt, files: tuple[dict[str, Any], ...]
) -> None:
    model = put_model(sites, *files, mode=mode)
    version = model["modelVersions"][0]["id"]
    results = [
        sites.search_civitai(),
        sites.verify(HubIds(civitai_version=version)),
        sites.verify(HubIds(civitai_version=version), "note"),
    ]
    assert [(one.status, one.doubt, one.has_choice) for one in results] == [(SearchStatus.UNCERTAIN, doubt, False)] * 3
    assert all(any("Detail Tweaker" in line or "The model" in line for line in one.evidence) for one in results)


@pytest.mark.parametrize(("mode", "doubt"), WITHDRAWN)
def test_hash_of_a_withdrawn_model_is_no_absence(sites: Sites, mode: str, doubt: SearchDoubt) -> None:
    page = {"id": 5, "modelId": 6, "model": {"name": "Quite another", "mode": mode}, "files": []}
    sites.civitai.pages[f"/api/v1/model-versions/by-hash/{DIGEST.upper()}"] = Reply(json.dumps(page).encode())
    sites.civitai.pages["/api/v1/models"] = Reply(b'{"items": [], "metadata": {}}')
    assert sites.search_civitai(sha256=DIGEST).doubt is doubt


def test_withdrawn_model_of_another_name_is_no_doubt(sites: Sites) -> None:
    sites.civitai.models = [model_json("Portrait of Detail", [version_json([])], mode="Archived")]
    assert sites.search_civitai("detail_tweaker.safetensors").doubt is SearchDoubt.ARCHIVED_BY_AUTHOR
    assert sites.search_civitai("portraits_v2.safetensors").doubt is SearchDoubt.NO_MATCH


@pytest.mark.slow
def test_unknown_hash_proves_absence_whatever_the_words_lead_to(sites: Sites) -> None:
    sites.civitai.models = [model_json(f"Detail {n}", [version_json([file_json(f"{n}.pt")])]) for n in range(310)]
    result = sites.search_civitai(sha256="e" * 64)
    assert (result.status, result.absence) == (SearchStatus.NOT_FOUND, (UnknownHash("civitai", "e" * 64),))
    assert sites.search_civitai().doubt is SearchDoubt.CUT_SEARCH


def test_file_of_the_name_with_another_hash_is_a_candidate(sites: Sites) -> None:
    put_model(sites, file_json(NAME))
    result = sites.search_civitai(sha256="e" * 64)
    assert (result.status, result.doubt) == (SearchStatus.UNCERTAIN, SearchDoubt.CANDIDATES_TO_CHOOSE)


@pytest.mark.parametrize("name", ["ae.safetensors", "sd.safetensors", "m1.ckpt", "v1.pt", "_.safetensors"])
def test_name_without_words_is_asked_of_nobody(sites: Sites, name: str) -> None:
    for result in (sites.search_civitai(name), sites.search_hugging_face(name)):
        assert (result.status, result.doubt) == (SearchStatus.UNCERTAIN, SearchDoubt.NOT_ASKED)
        assert "gives no words" in result.evidence[0]
    assert sites.civitai.asked == sites.hugging_face.asked == []


def test_name_without_words_is_found_by_its_hash(sites: Sites) -> None:
    put_model(sites, file_json("ae.safetensors"))
    digest = sha256_of("ae.safetensors").lower()
    assert sites.search_civitai("ae.safetensors", digest).status is SearchStatus.FOUND
    assert sites.search_civitai("ae.safetensors", "e" * 64).status is SearchStatus.NOT_FOUND


def test_private_repository_among_the_results_is_a_doubt(sites: Sites) -> None:
    sites.hugging_face.pages["/api/models"] = Reply(b'[{"id": "o/detail", "tags": []}]')
    sites.hugging_face.pages["/api/models/o/detail/tree/main"] = Reply(b"", 401, {"X-Error-Code": "RepoNotFound"})
    result = sites.search_hugging_face()
    assert (result.doubt, result.candidates) == (SearchDoubt.PRIVATE_OR_GONE, ())
