from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from comfywatchman.readiness.search.identify import ModelIdentities, identify_files
from tests.readiness.search.servers import CANARIES, SearchServers, search_servers
from tests.servers.base import Reply
from tests.servers.civitai import CivitaiServer, file_json, model_json, sha256_of, version_json

NAME = "detail_tweaker.safetensors"
DIGEST = sha256_of(NAME).lower()


@pytest.fixture
def made() -> Iterator[SearchServers]:
    with search_servers() as running:
        yield running


def identify(made: SearchServers, *digests: str, fallback: str = "") -> ModelIdentities:
    settings = made.settings(search={"civitai_fallback_url": fallback})
    return identify_files(digests, settings, made.clock)


def test_only_hashes_and_the_key_are_sent(made: SearchServers) -> None:
    identify(made, DIGEST)
    (asked,) = made.civitai.asked
    assert json.loads(asked.body) == [DIGEST.upper()]
    assert asked.headers["authorization"] == f"Bearer {CANARIES['civitai_api_key']}"
    assert (made.hugging_face.asked, made.evil.asked) == ([], [])


def test_copies_of_a_file_in_one_version_count_once(made: SearchServers) -> None:
    twice = version_json([file_json(NAME, content=b"same"), file_json(NAME, content=b"same")])
    made.civitai.models = [model_json("Detail", [twice])]
    digest = sha256_of(b"same").lower()
    (identity,) = identify(made, digest).known[digest]
    assert (identity.name, identity.model, identity.version_id) == (NAME, "Detail", twice["id"])


def test_page_belongs_to_the_server_that_knows_the_file(made: SearchServers) -> None:
    version = version_json([file_json(NAME)])
    with CivitaiServer([model_json("Detail", [version], id=7)]) as other:
        (identity,) = identify(made, DIGEST, fallback=other.url).known[DIGEST]
    assert identity.model_id == 7
    assert identity.page == f"{other.url}/models/7?modelVersionId={version['id']}"


def test_version_without_its_model_has_no_page(made: SearchServers) -> None:
    bare = [{"id": 5, "files": [file_json(NAME)]}]
    made.civitai.pages["/api/v1/model-versions/by-hash"] = Reply(json.dumps(bare).encode())
    (identity,) = identify(made, DIGEST).known[DIGEST]
    assert (identity.version_id, identity.page, identity.model_id, identity.model, identity.type) == (
        5,
        None,
        None,
        None,
        None,
    )


def test_known_files_are_kept_beside_a_failure(made: SearchServers) -> None:
    made.civitai.models = [model_json("Detail", [version_json([file_json(NAME)])])]
    with CivitaiServer() as gone:
        url = gone.url
    identities = identify(made, DIGEST, "f" * 64, fallback=url)
    assert list(identities.known) == [DIGEST]
    assert identities.failure is not None
    assert identities.failure.code == "http-unreachable"
    assert identify(made, DIGEST, fallback=url).failure is None


def test_nothing_is_sent_without_hashes(made: SearchServers) -> None:
    settings = made.settings()
    settings = replace(settings, secrets=replace(settings.secrets, civitai_api_key=""))
    assert identify_files([], settings, made.clock) == ModelIdentities({}, None)
    assert made.civitai.asked == []
