from __future__ import annotations

from collections.abc import Iterator

import pytest

from comfywatchman.base.http import HttpSession
from comfywatchman.sources.civitai.client import Civitai
from comfywatchman.sources.civitai.lookups import HashLookup, ModelList
from tests.servers.civitai import CivitaiServer, file_json, model_json, sha256_of, version_json

NAME = "detail_tweaker.safetensors"


@pytest.fixture
def session() -> Iterator[HttpSession]:
    with HttpSession(timeout_seconds=60) as opened:
        yield opened


@pytest.fixture
def server() -> Iterator[CivitaiServer]:
    with CivitaiServer() as running:
        yield running


def test_hit_leads_to_the_server_that_reported_it(session: HttpSession, server: CivitaiServer) -> None:
    server.models = [model_json("Detail", [version_json([file_json(NAME)])])]
    with CivitaiServer() as empty:
        found = Civitai(session, f"{empty.url}/", server.url).identify([sha256_of(NAME)])
    ((digest, hits),) = found.hits.items()
    assert digest == sha256_of(NAME).lower()
    assert [hit.base_url for hit in hits] == [server.url]
    assert found.failure is None


def test_hash_of_two_versions_has_a_hit_for_each(session: HttpSession, server: CivitaiServer) -> None:
    same = [version_json([file_json(name, content=b"same")], name=name) for name in ("old.pt", "new.pt")]
    server.models = [model_json("Detail", same)]
    (hits,) = Civitai(session, server.url, None).identify([sha256_of(b"same")]).hits.values()
    assert sorted(hit.file.name for hit in hits) == ["new.pt", "old.pt"]
    assert len({hit.version.id for hit in hits}) == 2


def test_hash_that_the_version_lacks_is_a_lookup_without_a_hit(session: HttpSession, server: CivitaiServer) -> None:
    server.models = [model_json("Detail", [version_json([file_json(NAME), file_json("other.safetensors")])])]
    digest = sha256_of(NAME)
    client = Civitai(session, server.url, None)
    proved = client.find_by_hash(digest)
    assert proved is not None
    assert proved.hit is not None
    assert (proved.hit.file.name, proved.hit.version) == (NAME, proved.version)
    server.by_hash_lies = {digest}
    lookup = client.find_by_hash(digest)
    assert lookup is not None
    assert lookup == HashLookup(lookup.version, None)
    assert lookup.version.id == proved.version.id


def test_search_without_results_is_complete(session: HttpSession, server: CivitaiServer) -> None:
    assert Civitai(session, server.url, None).search("detail") == ModelList((), complete=True)


def test_archived_model_of_the_name_is_withdrawn(session: HttpSession, server: CivitaiServer) -> None:
    archived = model_json("Detail tweaker", [version_json([])], mode="Archived")
    server.models = [archived, model_json("Detail other", [version_json([file_json("detail_other.pt")])])]
    result = Civitai(session, server.url, None).find_by_file_name(NAME)
    assert [model.id for model in result.withdrawn] == [archived["id"]]
    assert (result.exact, result.variants, result.cut, result.unreadable) == ((), (), (), 0)
