from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from comfywatchman.base.http import HttpSession
from comfywatchman.readiness.search.absence import UnknownHash
from comfywatchman.readiness.search.claims import HubState, ModelQuery, Proposal, ProposedBy, build_query
from comfywatchman.readiness.search.gather import (
    Hubs,
    fetch_records,
    search_civarchive,
    search_civitai,
    search_hugging_face,
    verify_proposals,
)
from comfywatchman.readiness.search.results import NO_HUB_IDS, HubIds, SearchResult, SearchStatus
from comfywatchman.readiness.search.verify import SearchPolicy
from comfywatchman.readiness.states import SearchDoubt
from comfywatchman.sources.civarchive import CivArchive
from comfywatchman.sources.civitai.client import Civitai
from comfywatchman.sources.huggingface import HuggingFace
from tests.servers.base import LocalServer, Reply
from tests.servers.cdn import CdnServer
from tests.servers.civarchive import CivArchiveServer, archived_version
from tests.servers.civitai import CivitaiServer, file_json, model_json, sha256_of, version_json
from tests.servers.huggingface import COMMIT, HubFile, HuggingFaceServer, Repo

AT = "2026-11-20T14:00:00Z"
NAME = "wan_i2v_high_fp8_scaled.safetensors"
WANTED = build_query(NAME, "loras")
DIGEST = sha256_of(NAME).lower()


@dataclass
class HubServers:
    """The servers and the clients of them."""

    civitai: CivitaiServer
    huggingface: HuggingFaceServer
    cdn: CdnServer
    hubs: Hubs
    policy: SearchPolicy

    def verify(self, *proposals: Proposal, wanted: ModelQuery = WANTED) -> SearchResult:
        return verify_proposals(wanted, proposals, self.hubs, policy=self.policy, searched_at=AT)

    def civitai_search(self, wanted: ModelQuery = WANTED, **more: Any) -> SearchResult:
        return search_civitai(wanted, self.hubs, policy=self.policy, searched_at=AT, **more)

    def hugging_face_search(self, wanted: ModelQuery = WANTED, **more: Any) -> SearchResult:
        return search_hugging_face(wanted, self.hubs, policy=self.policy, searched_at=AT, **more)


@pytest.fixture
def hub_servers() -> Iterator[HubServers]:
    with (
        CdnServer() as cdn,
        CivitaiServer(cdn=cdn) as civitai,
        HuggingFaceServer(cdn=cdn) as huggingface,
        HttpSession(timeout_seconds=60) as session,
    ):
        hubs = Hubs(
            Civitai(session, civitai.url, None, "civitai-token"),
            HuggingFace(session, huggingface.url, "hf-token"),
        )
        hosts = frozenset({f"127.0.0.1:{server.port}" for server in (civitai, huggingface)})
        yield HubServers(civitai, huggingface, cdn, hubs, SearchPolicy(extra_hosts=hosts))


def says(ids: HubIds = NO_HUB_IDS, *, by: ProposedBy = "model", name: str = "") -> Proposal:
    return Proposal(by, "somebody", ids, name=name)


def put(hub_servers: HubServers, *names: str, type: str = "LORA", **changes: Any) -> dict[str, Any]:  # noqa: A002 - Civitai's word
    version = version_json([file_json(name) for name in names], **changes)
    hub_servers.civitai.models.append(model_json("Wan i2v high", [version], type=type))
    return version


def test_a_proposed_version_is_found_by_its_file_of_that_name(hub_servers: HubServers) -> None:
    version = put(hub_servers, "other_1.safetensors", NAME, baseModel="Wan 2.2")
    result = hub_servers.verify(says(HubIds(civitai_version=version["id"])))
    assert (result.status, result.sha256, result.source) == (SearchStatus.FOUND, DIGEST, "civitai")
    file_id = version["files"][1]["id"]
    assert result.url == f"{hub_servers.civitai.url}/api/download/models/{version['id']}?fileId={file_id}"
    assert (result.ids.civitai_version, result.ids.civitai_file) == (version["id"], file_id)
    assert result.base_model == "Wan 2.2"
    assert result.size is None


def test_a_proposed_model_is_looked_through_in_all_its_versions(hub_servers: HubServers) -> None:
    old, new = version_json([file_json(NAME)]), version_json([file_json("new_1.safetensors")])
    model = model_json("Wan", [new, old])
    hub_servers.civitai.models = [model]
    assert hub_servers.verify(says(HubIds(civitai_model=model["id"]))).ids.civitai_version == old["id"]


def test_a_proposed_file_id_is_held_to(hub_servers: HubServers) -> None:
    version = put(hub_servers, "other_1.safetensors", NAME)
    wrong = HubIds(civitai_version=version["id"], civitai_file=version["files"][0]["id"])
    result = hub_servers.verify(says(wrong))
    assert (result.status, [one.name for one in result.candidates]) == (
        SearchStatus.UNCERTAIN,
        ["other_1.safetensors"],
    )
    assert hub_servers.verify(says(HubIds(civitai_version=version["id"], civitai_file=1))).doubt is SearchDoubt.NO_MATCH


@pytest.mark.parametrize(
    "ids", [HubIds(civitai_version=404), HubIds(civitai_model=404), HubIds(repo="no/body", path=NAME)]
)
def test_what_was_made_up_does_not_exist(hub_servers: HubServers, ids: HubIds) -> None:
    result = hub_servers.verify(says(ids))
    assert (result.status, result.candidates) == (SearchStatus.UNCERTAIN, ())
    assert result.evidence


def test_a_proposed_file_on_hugging_face_is_pinned_to_its_commit(hub_servers: HubServers) -> None:
    hub_servers.huggingface.repos["o/n"] = Repo({f"loras/{NAME}": HubFile(size=5 << 30, sha256=DIGEST)})
    result = hub_servers.verify(says(HubIds(repo="o/n", revision="main", path=f"loras/{NAME}")))
    assert (result.status, result.size, result.sha256) == (SearchStatus.FOUND, 5 << 30, DIGEST)
    assert result.url == f"{hub_servers.huggingface.url}/o/n/resolve/{COMMIT}/loras/{NAME}"
    assert result.ids == HubIds(repo="o/n", revision=COMMIT, path=f"loras/{NAME}")
    assert hub_servers.cdn.asked == []


def test_a_proposed_repository_is_looked_through_for_the_name(hub_servers: HubServers) -> None:
    files = {f"a/{NAME}": HubFile(size=5 << 30, sha256=DIGEST), "b/other.safetensors": HubFile(b"x")}
    hub_servers.huggingface.repos["o/n"] = Repo(files)
    assert hub_servers.verify(says(HubIds(repo="o/n"))).ids.path == f"a/{NAME}"
    other = build_query("wan_t2v_low_1.safetensors", "loras")
    assert hub_servers.verify(says(HubIds(repo="o/n")), wanted=other).doubt is SearchDoubt.NO_MATCH


def test_a_gated_repository_is_a_doubt_with_what_to_do(hub_servers: HubServers) -> None:
    hub_servers.huggingface.repos["o/n"] = Repo({NAME: HubFile(size=5 << 30, sha256=DIGEST)}, gated=True)
    for ids in (HubIds(repo="o/n", path=NAME), HubIds(repo="o/n")):
        result = hub_servers.verify(says(ids, name=NAME))
        assert result.status is SearchStatus.UNCERTAIN
        assert "terms" in result.candidates[0].reasons[0]
        assert result.candidates[0].name == NAME


def test_a_small_file_without_sha256_is_a_doubt(hub_servers: HubServers) -> None:
    hub_servers.huggingface.repos["o/n"] = Repo({NAME: HubFile(b"x" * 2000, "small")})
    assert hub_servers.verify(says(HubIds(repo="o/n", path=NAME))).status is SearchStatus.UNCERTAIN


def test_the_same_bytes_on_both_hubs_are_one_model(hub_servers: HubServers) -> None:
    version = put(hub_servers, NAME)
    hub_servers.huggingface.repos["o/n"] = Repo({NAME: HubFile(size=5 << 30, sha256=DIGEST)})
    both = (says(HubIds(civitai_version=version["id"])), says(HubIds(repo="o/n", path=NAME)))
    assert hub_servers.verify(*both).status is SearchStatus.FOUND
    hub_servers.huggingface.repos["o/n"].files[NAME].sha256 = "e" * 64
    result = hub_servers.verify(*both)
    assert result.status is SearchStatus.UNCERTAIN
    assert {one.source for one in result.candidates} == {"civitai", "huggingface"}


def test_an_address_on_another_host_is_shown_and_never_asked(hub_servers: HubServers) -> None:
    with LocalServer() as elsewhere:
        claim = Proposal("note", "a note", name=NAME, url=f"{elsewhere.url}/{NAME}")
        result = hub_servers.verify(claim)
        assert result.status is SearchStatus.UNCERTAIN
        assert "cannot be verified" in result.candidates[0].reasons[0]
        assert elsewhere.asked == []


def test_a_hub_that_is_switched_off_is_not_asked(hub_servers: HubServers) -> None:
    ids = HubIds(repo="o/n", path=NAME)
    facts = fetch_records(says(ids), WANTED, Hubs())
    assert [(record.state, record.source, record.reason) for record in facts] == [
        (HubState.UNVERIFIABLE, "huggingface", "its hub is switched off")
    ]
    assert fetch_records(says(HubIds(civitai_model=1)), WANTED, Hubs())[0].source == "civitai"
    for search in (search_civitai, search_hugging_face, search_civarchive):
        assert search(WANTED, Hubs(), policy=SearchPolicy(), searched_at=AT).doubt is SearchDoubt.NOT_ASKED
    assert hub_servers.huggingface.asked == []


def test_trouble_with_one_hub_hides_no_answer_of_the_other(hub_servers: HubServers) -> None:
    version = put(hub_servers, NAME)
    hub_servers.huggingface.limited = 9
    claims = (says(HubIds(repo="o/n", path=NAME)), says(HubIds(civitai_version=version["id"])))
    assert hub_servers.verify(*claims).status is SearchStatus.FOUND
    result = hub_servers.verify(claims[0])
    assert result.status is SearchStatus.ERROR
    assert "limits the number of requests" in result.evidence[0]


def test_no_more_proposals_are_looked_into_than_the_bound(hub_servers: HubServers) -> None:
    hub_servers.verify(*(says(HubIds(civitai_version=n)) for n in range(1, 200)))
    assert len(hub_servers.civitai.asked) == 40
    result = hub_servers.verify(*(says(HubIds(civitai_version=n)) for n in range(1, 42)))
    assert result.status is SearchStatus.UNCERTAIN
    assert result.evidence[-1] == "The last 1 of 41 proposals were not verified."
    hub_servers.civitai.asked.clear()
    hub_servers.verify(*(says(HubIds(civitai_version=7)) for _ in range(9)))
    assert len(hub_servers.civitai.asked) == 1


def test_a_name_that_can_be_no_file_is_not_searched(hub_servers: HubServers) -> None:
    wanted = build_query("../x.safetensors", "loras")
    assert hub_servers.verify(says(HubIds(civitai_version=1)), wanted=wanted).status is SearchStatus.INVALID_FILENAME
    assert hub_servers.civitai_search(wanted).status is SearchStatus.INVALID_FILENAME
    assert hub_servers.hugging_face_search(wanted).status is SearchStatus.INVALID_FILENAME
    assert hub_servers.civitai.asked == hub_servers.huggingface.asked == []


def test_civitai_is_searched_by_the_words_of_a_name(hub_servers: HubServers) -> None:
    put(hub_servers, NAME)
    assert hub_servers.civitai_search().sha256 == DIGEST
    put(hub_servers, NAME.replace("wan", "Wan"))
    assert hub_servers.civitai_search().status is SearchStatus.UNCERTAIN


def test_a_type_that_contradicts_the_loader_is_a_doubt(hub_servers: HubServers) -> None:
    put(hub_servers, NAME, type="Checkpoint")
    result = hub_servers.civitai_search()
    assert result.status is SearchStatus.UNCERTAIN
    assert "loras" in result.candidates[0].reasons[0]
    assert hub_servers.civitai_search(build_query(NAME, "diffusion_models")).status is SearchStatus.FOUND


def test_another_precision_is_suggested(hub_servers: HubServers) -> None:
    put(hub_servers, NAME.replace("fp8_scaled", "bf16"), "wan_t2v_high_fp8_scaled.safetensors")
    result = hub_servers.civitai_search()
    assert result.status is SearchStatus.UNCERTAIN
    assert [one.label for one in result.candidates] == ["same model, other precision"]


def test_a_declared_hash_is_asked_for_before_any_name(hub_servers: HubServers) -> None:
    version = put(hub_servers, "quite_other_name.safetensors")
    digest = version["files"][0]["hashes"]["SHA256"]
    wanted = build_query(NAME, "loras", sha256=digest)
    assert hub_servers.civitai_search(wanted).confidence == "hash"
    assert [request.method for request in hub_servers.civitai.asked] == ["GET", "HEAD"]
    hub_servers.civitai.by_hash_lies = {digest}
    assert hub_servers.civitai_search(wanted).doubt is SearchDoubt.HASH_NOT_SHOWN


def test_early_access_and_closed_downloads_are_told(hub_servers: HubServers) -> None:
    put(hub_servers, NAME, paidAccess={"permanent": False, "endsAt": "2026-12-01T00:00:00.000Z"})
    assert any("2026-12-01" in line for line in hub_servers.civitai_search().evidence)
    hub_servers.civitai.models.clear()
    put(hub_servers, NAME, paidAccess={"permanent": True, "endsAt": None})
    assert any("Only buyers" in line for line in hub_servers.civitai_search().evidence)
    hub_servers.civitai.models.clear()
    put(hub_servers, NAME, usageControl="Generation")
    assert any("generation on Civitai only" in line for line in hub_servers.civitai_search().evidence)


def test_a_search_that_fails_is_an_error(hub_servers: HubServers) -> None:
    hub_servers.civitai.brown_outs = hub_servers.huggingface.brown_outs = 9
    assert hub_servers.civitai_search().status is SearchStatus.ERROR
    assert hub_servers.hugging_face_search().status is SearchStatus.ERROR


@pytest.mark.slow
def test_truncated_civitai_search_is_uncertain(hub_servers: HubServers) -> None:
    models = [model_json(f"Wan {n}", [version_json([file_json(f"other_{n}.safetensors")])]) for n in range(301)]
    models[-1]["modelVersions"][0]["files"][0]["name"] = NAME
    hub_servers.civitai.models = models
    result = hub_servers.civitai_search()
    assert (result.status, result.candidates) == (SearchStatus.UNCERTAIN, ())
    terms = '"wan", "wan i2v high fp8 scaled", "wan i2v high"'
    assert result.evidence == (f"Civitai has more results for {terms} than were read.",)
    hub_servers.civitai.models = models[:300]
    assert hub_servers.civitai_search().doubt is SearchDoubt.NO_MATCH
    hub_servers.civitai.models = models[1:]
    assert hub_servers.civitai_search().status is SearchStatus.FOUND


def test_a_name_in_one_of_more_repositories_than_are_read_is_a_doubt(hub_servers: HubServers) -> None:
    repos = {f"o/wan-{n}": Repo({"x.safetensors": HubFile(b"x")}) for n in range(5)}
    hub_servers.huggingface.repos = {**repos, "o/wan-last": Repo({NAME: HubFile(size=5 << 30, sha256=DIGEST)})}
    result = hub_servers.hugging_face_search()
    assert (result.status, result.evidence) == (
        SearchStatus.UNCERTAIN,
        ('Hugging Face has more results for "wan" than were read.',),
    )
    hub_servers.huggingface.repos = dict(repos)
    assert hub_servers.hugging_face_search().doubt is SearchDoubt.NO_MATCH


def test_a_repository_that_was_closed_to_the_search_may_hold_it(hub_servers: HubServers) -> None:
    hub_servers.huggingface.repos["o/wan-closed"] = Repo({NAME: HubFile(b"x")}, gated=True)
    result = hub_servers.hugging_face_search()
    assert result.status is SearchStatus.UNCERTAIN
    assert "o/wan-closed is gated" in result.evidence[0]


def test_exact_name_is_read_before_other_precisions(hub_servers: HubServers) -> None:
    kinds = ("Q2_K", "Q3_K_S", "Q3_K_M", "Q4_0", "Q4_K_M", "Q5_K_M")
    wanted = build_query("flux1-dev-Q8_0.gguf", "diffusion_models")
    files = {f"flux1-dev-{kind}.gguf": HubFile(size=5 << 30, sha256=sha256_of(kind).lower()) for kind in kinds}
    files[wanted.filename] = HubFile(size=5 << 30, sha256=DIGEST)
    hub_servers.huggingface.repos["o/flux1-dev-gguf"] = Repo(files)
    assert hub_servers.hugging_face_search(wanted, terms=["flux1-dev"]).sha256 == DIGEST


def test_hugging_face_is_searched_by_repository(hub_servers: HubServers) -> None:
    hub_servers.huggingface.repos["kijai/wan-i2v"] = Repo({f"x/{NAME}": HubFile(size=5 << 30, sha256=DIGEST)})
    hub_servers.huggingface.repos["kijai/wan-closed"] = Repo({NAME: HubFile(b"x")}, gated=True)
    assert hub_servers.hugging_face_search().status is SearchStatus.FOUND
    assert hub_servers.hugging_face_search(terms=["kijai"]).status is SearchStatus.FOUND
    del hub_servers.huggingface.repos["kijai/wan-closed"]
    absent = build_query("wan_of_nobody_9.safetensors", "loras")
    assert hub_servers.hugging_face_search(absent).doubt is SearchDoubt.NO_MATCH


def test_what_the_archive_remembers_is_a_hint_and_never_found() -> None:
    wanted = build_query(NAME, "loras", sha256=DIGEST)
    with CivArchiveServer() as server, HttpSession(timeout_seconds=60) as session:
        hubs = Hubs(civarchive=CivArchive(session, server.url))

        def asked(one: ModelQuery) -> SearchResult:
            return search_civarchive(one, hubs, policy=SearchPolicy(), searched_at=AT)

        assert asked(wanted).absence == (UnknownHash("civarchive", DIGEST),)
        server.versions = [archived_version(NAME, DIGEST, mirrors=2)]
        result = asked(wanted)
        assert (result.status, result.candidates[0].source) == (SearchStatus.UNCERTAIN, "civarchive")
        assert "2 mirrors" in result.candidates[0].reasons[0]
        assert result.candidates[0].url is None
        assert asked(WANTED).doubt is SearchDoubt.NOT_ASKED
        server.pages[f"/api/sha256/{DIGEST}"] = Reply(b"", 502)
        assert asked(wanted).status is SearchStatus.ERROR


def test_each_token_goes_to_its_own_site_only(hub_servers: HubServers) -> None:
    version = put(hub_servers, NAME)
    hub_servers.huggingface.repos["o/n"] = Repo({NAME: HubFile(size=5 << 30, sha256=DIGEST)})
    hub_servers.verify(
        says(HubIds(civitai_version=version["id"])), says(HubIds(repo="o/n", path=NAME)), says(HubIds(repo="o/n"))
    )
    hub_servers.civitai_search()
    hub_servers.hugging_face_search(terms=["o/n"])
    assert {asked.headers["authorization"] for asked in hub_servers.civitai.asked} == {"Bearer civitai-token"}
    assert {asked.headers["authorization"] for asked in hub_servers.huggingface.asked} == {"Bearer hf-token"}
    assert "hf-token" not in repr(hub_servers.civitai.asked)
    assert "civitai-token" not in repr(hub_servers.huggingface.asked)
    assert not any("token" in asked.path for asked in (*hub_servers.civitai.asked, *hub_servers.huggingface.asked))
    assert hub_servers.cdn.asked == []


def test_unverified_proposal_keeps_its_ids_and_url() -> None:
    with HuggingFaceServer() as gone:
        pass
    proposals = (
        Proposal("workflow", "it", HubIds(repo="o/n", path="x/a.safetensors")),
        Proposal("workflow", "it", HubIds(repo="o/n"), "a.safetensors"),
        Proposal("workflow", "it", HubIds(civitai_version=5, civitai_file=6), "a.safetensors"),
        Proposal("workflow", "it", HubIds(civitai_model=4), "a.safetensors"),
    )
    with HttpSession(timeout_seconds=60) as session:
        hubs = Hubs(Civitai(session, gone.url, None), HuggingFace(session, gone.url))
        found = [fetch_records(one, build_query("a.safetensors", "loras"), hubs)[0] for one in proposals]
    assert {one.state for one in found} == {HubState.UNREACHABLE}
    assert [one.name for one in found] == ["a.safetensors"] * 4
    assert [one.source for one in found] == ["huggingface"] * 2 + ["civitai"] * 2
    assert [one.url for one in found] == [
        f"{gone.url}/o/n/resolve/main/x/a.safetensors",
        None,
        f"{gone.url}/api/download/models/5?fileId=6",
        None,
    ]


@pytest.mark.parametrize("trouble", [Reply(b"[", 200), Reply(b"{}", 500), Reply(b"{}", 403)])
def test_repository_that_fails_does_not_hide_the_next(hub_servers: HubServers, trouble: Reply) -> None:
    names = [f"org/Wan-i2v-high-fp8-{letter}" for letter in "ab"]
    hub_servers.huggingface.repos = {name: Repo({NAME: HubFile(size=5 << 20, sha256=DIGEST)}) for name in names}
    hub_servers.huggingface.failing[f"/api/models/{names[0]}/tree/main"] = trouble
    result = hub_servers.hugging_face_search()
    assert (result.status, result.ids.repo) == (SearchStatus.FOUND, names[1])


def test_repository_with_more_files_than_are_read_is_a_cut_search(
    hub_servers: HubServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfywatchman.sources.huggingface._MAX_TREE_PAGES", 1)
    repo = "org/Wan-i2v-high-fp8"
    many = {f"{number}.safetensors": HubFile(b"x") for number in range(9)}
    hub_servers.huggingface.repos = {repo: Repo({**many, NAME: HubFile(size=5 << 20, sha256=DIGEST)})}
    for result in (hub_servers.hugging_face_search(), hub_servers.verify(says(HubIds(repo=repo), by="workflow"))):
        assert (result.status, result.doubt) == (SearchStatus.UNCERTAIN, SearchDoubt.CUT_SEARCH)
        assert any("more files than were read" in line for line in result.evidence)
