"""A file is FOUND only if it can be fetched: early access, disabled downloads and files of other versions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from comfywatchman.base.http import HttpSession
from comfywatchman.readiness.search.claims import Proposal, build_query
from comfywatchman.readiness.search.gather import Hubs, search_civitai, verify_proposals
from comfywatchman.readiness.search.results import HubIds, SearchResult, SearchStatus
from comfywatchman.readiness.search.verify import SearchPolicy
from comfywatchman.readiness.states import SearchDoubt
from comfywatchman.sources.civitai.client import Civitai
from tests.servers.civitai import DELETED, EARLY_ACCESS, Access, CivitaiServer, file_json, model_json, version_json

AT = "2026-11-20T14:00:00Z"
NAME = "detail_tweaker_vae.safetensors"


@dataclass
class Site:
    """A server, and searches of it with or without a key."""

    server: CivitaiServer
    session: HttpSession

    def put(self, *files: dict[str, Any], type: str = "LORA", **changes: Any) -> dict[str, Any]:  # noqa: A002 - Civitai's word
        version = version_json(files, **changes)
        self.server.models.append(model_json("Detail Tweaker", [version], type=type))
        return version

    def search(self, key: str | None) -> SearchResult:
        query = build_query(NAME, "loras")
        return search_civitai(query, self._hubs(key), policy=self._policy, searched_at=AT)

    def verify(self, version: int, folder: str, key: str | None) -> SearchResult:
        proposal = Proposal("workflow", "node 3", HubIds(civitai_version=version), NAME)
        query = build_query(NAME, folder)
        return verify_proposals(query, [proposal], self._hubs(key), policy=self._policy, searched_at=AT)

    def _hubs(self, key: str | None) -> Hubs:
        return Hubs(Civitai(self.session, self.server.url, None, key))

    @property
    def _policy(self) -> SearchPolicy:
        return SearchPolicy(extra_hosts=frozenset({f"127.0.0.1:{self.server.port}"}))


@pytest.fixture
def site() -> Iterator[Site]:
    with CivitaiServer() as server, HttpSession(timeout_seconds=60) as session:
        yield Site(server, session)


def put_linked_vae(site: Site) -> tuple[int, int]:
    """List the VAE of one version in another one as well; return the ids of both."""
    vae = file_json(NAME, type="VAE")
    own = site.put(vae, type="VAE")
    linked = vae | {"downloadUrl": f"https://civitai.com/api/download/models/{own['id']}?type=VAE"}
    listing = site.put(file_json("other.safetensors"), linked, type="Checkpoint")
    site.server.linked[vae["id"]] = own["id"]
    return own["id"], listing["id"]


@pytest.mark.parametrize("key", [None, "key"])
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"paidAccess": {"permanent": False, "endsAt": "2026-12-01T00:00:00.000Z"}}, "2026-12-01"),
        ({"usageControl": "InternalGeneration"}, "generation"),
        ({"usageControl": "None"}, "does not allow downloads"),
    ],
)
def test_restricted_file_is_stated_and_not_found(
    site: Site, key: str | None, changes: dict[str, Any], reason: str
) -> None:
    site.put(file_json(NAME), **changes)
    result = site.search(key)
    assert (result.status, result.doubt) == (SearchStatus.UNCERTAIN, SearchDoubt.ACCESS_RESTRICTED)
    assert not result.has_choice
    assert any(reason in line for line in result.evidence)


def test_early_access_that_the_account_has_bought_is_found(site: Site) -> None:
    version = site.put(file_json(NAME), availability="EarlyAccess")
    assert site.search("key").status is SearchStatus.FOUND
    site.server.access[version["id"]] = EARLY_ACCESS
    result = site.search("key")
    assert (result.status, result.doubt) == (SearchStatus.UNCERTAIN, SearchDoubt.ACCESS_RESTRICTED)


@pytest.mark.parametrize("key", [None, "key"])
def test_vae_of_another_version_is_found_at_its_own_address(site: Site, key: str | None) -> None:
    own, listing = put_linked_vae(site)
    result = site.verify(listing, "vae", key)
    assert (result.status, result.ids.civitai_version) == (SearchStatus.FOUND, own)
    assert site.session.head(result.url or "", redirects="none").status == 307


def test_listed_file_without_a_download_is_not_found(site: Site) -> None:
    version = site.put(file_json(NAME))
    site.server.access[version["id"]] = DELETED
    result = site.search("key")
    assert (result.status, result.has_choice) == (SearchStatus.UNCERTAIN, False)
    assert any("no download" in line for line in result.evidence)


def test_listed_file_that_its_version_does_not_offer_is_not_found(site: Site) -> None:
    version = site.put(file_json(NAME))
    site.server.hidden_files.add(version["files"][0]["id"])
    result = site.search(None)
    assert (result.status, result.doubt) == (SearchStatus.UNCERTAIN, SearchDoubt.ACCESS_RESTRICTED)
    site.server.hidden_versions.add(version["id"])
    assert any("does not show version" in line for line in site.search(None).evidence)


@pytest.mark.parametrize("status", [405, 429, 500, 503])
def test_failing_check_hides_no_result(site: Site, status: int) -> None:
    version = site.put(file_json(NAME))
    site.server.access[version["id"]] = Access(status, {"error": "later"})
    assert site.search("key").status is SearchStatus.FOUND
