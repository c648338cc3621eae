"""The backends of one model: which are queried, which are skipped, and what the known proposals settle."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from comfywatchman.readiness.search.backends import build_error, query_backends
from comfywatchman.readiness.search.budget import SearchBudget
from comfywatchman.readiness.search.claims import Proposal, build_query
from comfywatchman.readiness.search.context import BACKENDS, Backend
from comfywatchman.readiness.search.results import (
    BackendSkipReason,
    HubIds,
    SearchResult,
    SearchStatus,
    SkippedBackend,
)
from comfywatchman.readiness.states import SearchDoubt
from tests.readiness.search.servers import SearchServers, search_item, search_servers
from tests.servers.civitai import file_json, model_json, sha256_of, version_json
from tests.servers.huggingface import HubFile, Repo
from tests.servers.llm import picks

NAME = "detail_tweaker.safetensors"
NO_WORDS = "ae.safetensors"
FILE = HubFile(b"x" * 4096)
NOW = "2026-11-20T14:00:00Z"
NO_MODEL = SkippedBackend("qwen", BackendSkipReason.NO_LANGUAGE_MODEL)
NO_HASH = SkippedBackend("civarchive", BackendSkipReason.NO_DECLARED_HASH)


@pytest.fixture
def made() -> Iterator[SearchServers]:
    with search_servers() as running:
        yield running


def query(
    made: SearchServers,
    *backends: Backend,
    name: str = NAME,
    claim: Proposal | None = None,
    sha256: str | None = None,
    budget: SearchBudget | None = None,
) -> SearchResult:
    item = search_item(name, "loras", *([claim] if claim else []), sha256=sha256)
    with made.search(budget=budget) as search:
        return query_backends(item, search, backends, NOW)


def declare(path: str = NAME) -> Proposal:
    return Proposal("workflow", "the workflow's node 3", HubIds(repo="a/b", revision="main", path=path), path)


def list_asked(made: SearchServers) -> list[int]:
    return [len(server.asked) for server in (made.civitai, made.hugging_face, made.evil)]


def test_exhausted_budget_asks_nobody_about_proposals(made: SearchServers) -> None:
    budget = SearchBudget(made.clock, seconds=5.0)
    made.clock.advance(awake=6.0)
    result = query(made, *BACKENDS, claim=declare(), budget=budget)
    assert result == build_error(build_query(NAME, "loras"), budget.refusal() or "", NOW)
    assert list_asked(made) == [0, 0, 0]


def test_proved_proposal_needs_no_usable_backend(made: SearchServers) -> None:
    made.hugging_face.repos = {"a/b": Repo({NAME: FILE})}
    result = query(made, "qwen", "civarchive", claim=declare())
    assert (result.status, result.searched_at) == (SearchStatus.FOUND, NOW)
    assert result.skipped == (NO_MODEL, NO_HASH)
    assert result.backends == ()


def test_without_usable_backend_nothing_is_called_absent(made: SearchServers) -> None:
    result = query(made, "civarchive", "qwen")
    assert (result.status, result.skipped) == (SearchStatus.ERROR, (NO_HASH, NO_MODEL))
    assert list_asked(made) == [0, 0, 0]


def test_name_without_words_is_doubtful_and_not_an_error(made: SearchServers) -> None:
    result = query(made, "civitai", "huggingface", name=NO_WORDS)
    assert (result.status, result.doubt) == (SearchStatus.UNCERTAIN, SearchDoubt.NOT_ASKED)
    assert [entry.reason for entry in result.skipped] == [BackendSkipReason.NO_SEARCH_TERMS] * 2
    assert list_asked(made) == [0, 0, 0]


def test_name_without_words_is_searched_by_its_hash(made: SearchServers) -> None:
    made.civitai.models = [model_json("Autoencoder", [version_json([file_json(NO_WORDS)])])]
    result = query(made, "huggingface", "civitai", "civarchive", name=NO_WORDS, sha256=sha256_of(NO_WORDS))
    assert (result.status, result.sha256) == (SearchStatus.FOUND, sha256_of(NO_WORDS).lower())
    assert [entry.backend for entry in result.backends] == ["civitai"]
    assert [entry.backend for entry in result.skipped] == ["huggingface"]
    # A file with the declared hash ends the search.
    assert made.evil.asked == []


def test_file_of_the_declared_hash_ends_the_search(made: SearchServers) -> None:
    made.civitai.models = [model_json("Detail tweaker", [version_json([file_json(NAME)])])]
    result = query(made, "civitai", "huggingface", sha256=sha256_of(NAME))
    assert result.status is SearchStatus.FOUND
    assert [entry.backend for entry in result.backends] == ["civitai"]
    assert made.hugging_face.asked == []


def test_file_of_the_name_is_compared_with_the_other_catalogue_only() -> None:
    with search_servers(picks()) as made:
        made.civitai.models = [model_json("Detail tweaker", [version_json([file_json(NAME)])])]
        result = query(made, "civitai", "qwen", "huggingface")
        assert result.status is SearchStatus.FOUND
        assert [entry.backend for entry in result.backends] == ["civitai", "huggingface"]
        assert made.llm is not None
        assert made.llm.chats == []
