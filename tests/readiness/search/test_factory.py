from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from comfywatchman.base.config import load
from comfywatchman.base.settings import Settings
from comfywatchman.readiness.search.budget import SearchBudget
from comfywatchman.readiness.search.factory import build_cycle_budget, build_policy, limit_model_time, open_search
from comfywatchman.sources.llm.openai import ChatCompletions
from comfywatchman.sources.llm.qwen_cli import QwenCommand
from tests.fakes import FakeClock


@pytest.fixture
def settings() -> Settings:
    return load(folder=Path("/"), environment={}).settings


def configuration(settings: Settings) -> str:
    with open_search(settings, clock=FakeClock(), budget=SearchBudget(FakeClock())) as search:
        return search.configuration


def test_nothing_is_asked_of_a_language_model_until_one_is_configured(settings: Settings) -> None:
    with open_search(settings, clock=FakeClock(), budget=SearchBudget(FakeClock())) as search:
        assert search.language_model is None
        assert search.backend_order == ("qwen", "civitai")
        assert search.cache is None


def test_each_driver_is_what_the_configuration_names(settings: Settings) -> None:
    for driver, kind in (("openai", ChatCompletions), ("qwen-cli", QwenCommand)):
        changed = replace(settings, llm=replace(settings.llm, driver=driver, rounds=3))
        with open_search(changed, clock=FakeClock(), budget=SearchBudget(FakeClock())) as search:
            assert search.language_model is not None
            assert isinstance(search.language_model.provider, kind)
            assert (search.language_model.rounds, search.language_model.web) == (3, None)


@pytest.mark.parametrize(
    ("kind", "url", "key", "searches"),
    [
        ("none", "http://127.0.0.1:8888", "key", False),
        ("tavily", "", "", False),
        ("tavily", "", "key", True),
        ("searxng", "", "key", False),
        ("searxng", "http://127.0.0.1:8888", "", True),
    ],
)
def test_the_web_is_searched_only_where_all_that_it_needs_is_there(
    settings: Settings, kind: str, url: str, key: str, *, searches: bool
) -> None:
    changed = replace(
        settings,
        llm=replace(settings.llm, driver="openai"),
        search=replace(settings.search, web_search=kind, web_search_url=url),
        secrets=replace(settings.secrets, tavily_api_key=key),
    )
    with open_search(changed, clock=FakeClock(), budget=SearchBudget(FakeClock())) as search:
        assert search.language_model is not None
        assert (search.language_model.web is not None) is searches


def test_only_hosts_that_the_configuration_names_are_trusted_beside_the_sites(settings: Settings) -> None:
    assert build_policy(settings).extra_hosts == frozenset()
    mirror = replace(settings.search, huggingface_url="https://mirror.example:8443", civitai_fallback_url="")
    changed = replace(settings, search=mirror, downloads=replace(settings.downloads, allow_pickle=True))
    assert build_policy(changed).extra_hosts == {"mirror.example:8443"}
    assert (build_policy(settings).allow_pickle, build_policy(changed).allow_pickle) == (False, True)


def test_a_cycle_may_ask_what_the_configuration_allows(settings: Settings) -> None:
    clock = FakeClock()
    budget = build_cycle_budget(replace(settings, search=replace(settings.search, budget_seconds=5.0)), clock)
    assert budget.refusal() is None
    clock.advance(awake=5)
    assert budget.refusal() is not None


def test_answers_belong_to_whom_was_asked_and_not_to_how_patiently(settings: Settings) -> None:
    same = replace(
        settings,
        search=replace(settings.search, budget_seconds=1.0, parallel=1, timeout_seconds=1.0),
        llm=replace(settings.llm, model="never asked"),
        secrets=replace(settings.secrets, llm_api_key="another"),
    )
    assert configuration(same) == configuration(settings)
    others = [
        replace(settings, search=replace(settings.search, civitai_url="https://mirror.example")),
        replace(settings, llm=replace(settings.llm, driver="openai")),
        replace(settings, llm=replace(settings.llm, driver="openai", model="another")),
        replace(settings, downloads=replace(settings.downloads, allow_pickle=True)),
        # A site shows an account what it hides from others.
        replace(settings, secrets=replace(settings.secrets, civitai_api_key="another")),
    ]
    assert len({configuration(one) for one in (settings, *others)}) == 6
    patient = replace(others[1], llm=replace(others[1].llm, timeout_seconds=1.0))
    assert configuration(patient) == configuration(others[1])


def test_language_model_gets_its_share_of_the_time(settings: Settings) -> None:
    clock = FakeClock()
    limited = limit_model_time(settings, SearchBudget(clock, seconds=20.0))
    assert limited.llm.timeout_seconds == 10.0
    assert limit_model_time(settings, SearchBudget(clock)).llm.timeout_seconds == 60.0
    assert limit_model_time(settings, SearchBudget(clock, seconds=1000.0)).llm.timeout_seconds == 60.0


@pytest.mark.parametrize("url", ["http://[::1", "nonsense", "http://u:p@host"])
def test_policy_trusts_no_host_of_a_bad_address(settings: Settings, url: str) -> None:
    changed = replace(settings, search=replace(settings.search, civitai_url=url))
    assert build_policy(changed).extra_hosts == frozenset()
