from __future__ import annotations

import dataclasses
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from comfywatchman.base.clock import SystemClock
from comfywatchman.base.config import Home
from comfywatchman.base.state.state_file import CorruptFile
from comfywatchman.readiness.database import Database, open_database
from comfywatchman.readiness.layout import ReadinessLayout
from comfywatchman.readiness.search.api import SearchReport, SearchRequest, resolve_missing
from comfywatchman.readiness.search.budget import SearchBudget
from comfywatchman.readiness.search.results import SearchStatus
from comfywatchman.readiness.states import ModelState
from comfywatchman.readiness.status import MissingModel
from comfywatchman.readiness.workflow_facts import WorkflowFacts
from tests.model_files import put
from tests.readiness.search.servers import SearchServers, search_servers
from tests.servers.civitai import file_json, model_json, version_json

NAME = "detail_tweaker.safetensors"
OTHER = "paper_cut.safetensors"


@pytest.fixture
def made() -> Iterator[SearchServers]:
    with search_servers() as running:
        yield running


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(open_database(tmp_path / "index.sqlite")) as opened:
        yield opened


def lack(*names: str, status: ModelState = ModelState.MISSING) -> list[tuple[WorkflowFacts, MissingModel]]:
    facts = WorkflowFacts("json")
    return [
        (facts, MissingModel(name, "loras", "LoraLoader", "1", "lora_name", status, None, "known", "high"))
        for name in names
    ]


def build_request(
    folder: Path, made: SearchServers, database: Database, *, search: Mapping[str, Any] | None = None, **changes: Any
) -> SearchRequest:
    settings = made.settings(search={"backend_order": ("civitai",), **(search or {})})
    layout = ReadinessLayout(Home(folder / "home"))
    budget = SearchBudget(made.clock)
    return SearchRequest(settings, layout, folder / "ComfyUI", (), made.clock, database, budget, **changes)


def test_nothing_is_read_while_nothing_is_missing(tmp_path: Path, made: SearchServers, database: Database) -> None:
    listed: list[int] = []

    def list_local_models() -> dict[str, str]:
        listed.append(1)
        return {}

    request = build_request(tmp_path, made, database, list_local_models=list_local_models)
    put(request.layout.decisions, b"{broken")
    assert resolve_missing([], request) == SearchReport()
    assert listed == []
    assert len(resolve_missing(lack(NAME, OTHER), request).results) == 2
    assert listed == [1]


def test_damaged_decisions_are_reported_beside_the_results(
    tmp_path: Path, made: SearchServers, database: Database
) -> None:
    request = build_request(tmp_path, made, database)
    put(request.layout.decisions, b"{broken")
    made.civitai.models = [model_json("Detail tweaker", [version_json([file_json(NAME)])])]
    report = resolve_missing(lack(NAME), request)
    assert [(result.filename, result.status) for result in report.results] == [(NAME, SearchStatus.FOUND)]
    (problem,) = report.problems
    assert isinstance(problem, CorruptFile)
    assert not request.layout.decisions.exists()


def test_unreachable_site_is_reported_once_with_its_models(
    tmp_path: Path, made: SearchServers, database: Database
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = f"127.0.0.1:{listener.getsockname()[1]}"
    request = build_request(tmp_path, made, database, search={"civitai_url": f"http://{host}"})
    report = resolve_missing(lack(NAME, OTHER), request)
    assert [result.status for result in report.results] == [SearchStatus.ERROR] * 2
    (problem,) = report.problems
    assert isinstance(problem, str)
    assert "2 models were" in problem
    assert problem.count(host) == 1


def test_models_that_are_no_files_are_left_out(tmp_path: Path, made: SearchServers, database: Database) -> None:
    request = build_request(tmp_path, made, database)
    models = [*lack(NAME, status=ModelState.UNKNOWN), *lack(OTHER), *lack(OTHER, status=ModelState.INVALID)]
    assert [result.filename for result in resolve_missing(models, request).results] == [OTHER]


def test_backends_of_the_call_replace_the_configured_ones(
    tmp_path: Path, made: SearchServers, database: Database
) -> None:
    told: list[tuple[int, int]] = []
    request = build_request(
        tmp_path, made, database, backends=["huggingface"], progress=lambda *state: told.append(state)
    )
    resolve_missing(lack(NAME, OTHER), request)
    assert made.civitai.asked == []
    assert len(made.hugging_face.asked) > 0
    assert told == [(1, 2), (2, 2)]


BAD_ADDRESSES = ["http://[::1", "nonsense", "ftp://x", "http://user:canary-password@127.0.0.1:9", "http://a:99999"]


@pytest.mark.parametrize("url", BAD_ADDRESSES)
def test_bad_address_names_its_setting_and_costs_that_source_only(
    tmp_path: Path, made: SearchServers, database: Database, url: str
) -> None:
    search = {"backend_order": ("huggingface", "civitai"), "huggingface_url": url, "civarchive_url": url}
    request = build_request(tmp_path, made, database, search=search)
    made.civitai.models = [model_json("Detail tweaker", [version_json([file_json(NAME)])])]
    report = resolve_missing(lack(NAME), request)
    assert [result.status for result in report.results] == [SearchStatus.FOUND]
    text = repr(report)
    assert "[search] huggingface_url is not a plain http or https address" in text
    assert "civarchive_url" not in text, "that site is not queried"
    assert "canary-password" not in text


@pytest.mark.slow
def test_hanging_language_model_leaves_the_other_backends_their_time(tmp_path: Path, database: Database) -> None:
    with search_servers(lambda _question: None) as made:
        made.civitai.models = [
            model_json("Detail tweaker", [version_json([file_json(NAME)])]),
            model_json("Paper cut", [version_json([file_json(OTHER)])]),
        ]
        request = build_request(tmp_path, made, database, search={"backend_order": ("qwen", "civitai")})
        clock = SystemClock()
        budget = SearchBudget(clock, seconds=20.0)
        settings = replace(request.settings, llm=replace(request.settings.llm, timeout_seconds=60.0))
        started = clock.monotonic()
        names = (NAME, OTHER, "wan_number_one.safetensors", "wan_number_two.safetensors")
        report = resolve_missing(lack(*names), dataclasses.replace(request, settings=settings, budget=budget))
        assert clock.monotonic() - started < 50.0
        assert made.llm is not None
        assert len(made.llm.chats) <= 1
        by_name = {result.filename: result for result in report.results}
        assert by_name[NAME].status is SearchStatus.FOUND
        assert by_name[OTHER].status is SearchStatus.FOUND
        assert not any(result.postponed for result in report.results)
        assert any("language model was left out" in str(problem) for problem in report.problems)
