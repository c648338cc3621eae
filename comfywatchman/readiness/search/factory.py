"""Opens a search from the configuration: connections, hubs, language model, cache and policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import msgspec

from comfywatchman.base.address import parse_address, printable_url
from comfywatchman.base.clock import Clock
from comfywatchman.base.errors import Failure
from comfywatchman.base.http import HttpSession
from comfywatchman.base.settings import Settings
from comfywatchman.readiness.database import Database
from comfywatchman.readiness.search.budget import BudgetedSession, SearchBudget
from comfywatchman.readiness.search.cache import SearchCache, compute_digest, digest_accounts
from comfywatchman.readiness.search.context import SearchContext
from comfywatchman.readiness.search.decisions import Decisions
from comfywatchman.readiness.search.gather import Hubs
from comfywatchman.readiness.search.qwen import ModelSearch
from comfywatchman.readiness.search.verify import SearchPolicy
from comfywatchman.sources.civarchive import CivArchive
from comfywatchman.sources.civitai.client import Civitai
from comfywatchman.sources.huggingface import HuggingFace
from comfywatchman.sources.llm.openai import ChatCompletions
from comfywatchman.sources.llm.qwen_cli import QwenCommand
from comfywatchman.sources.llm.ranking import CandidateProvider
from comfywatchman.sources.llm.web_search import TAVILY_URL, WebSearch, search_searxng, search_tavily
from comfywatchman.sources.urls import CIVITAI_HOSTS, HUGGING_FACE_HOSTS

_SEARCH_VERSION: Final = 3
"""Raised when the search changes, so that models an older version did not find are searched for again."""

_MAX_COMPLETION_BYTES: Final = 1 << 20
_MIN_SHARE_SECONDS: Final = 0.5


@contextmanager
def open_search(
    settings: Settings,
    *,
    clock: Clock,
    budget: SearchBudget,
    database: Database | None = None,
    decisions: Decisions | None = None,
) -> Iterator[SearchContext]:
    """Open the connections of a search while the block runs; sends no request.

    Args:
        settings: The effective settings, keys included.
        clock: For times and ages.
        budget: Limits of time and requests (`build_cycle_budget` for a cycle).
        database: Caches results; None to cache nothing.
        decisions: Choices made by a person.
    """
    section = settings.search
    with ExitStack() as stack:
        session = stack.enter_context(BudgetedSession(budget, timeout_seconds=section.timeout_seconds))

        def open_session(*names: str) -> HttpSession:
            """Return the session of a site; one that refuses all requests when an address of it is faulty."""
            problem = find_bad_address(settings, *names)
            if problem is None:
                return session
            refusing = stack.enter_context(BudgetedSession(budget, timeout_seconds=section.timeout_seconds))
            refusing.refuse(problem)
            return refusing

        yield SearchContext(
            hubs=_build_hubs(settings, open_session),
            policy=build_policy(settings),
            backend_order=section.backend_order,
            budget=budget,
            clock=clock,
            language_model=_build_model_search(limit_model_time(settings, budget), session, stack),
            cache=SearchCache(database, now=clock.now()) if database is not None else None,
            decisions=decisions or Decisions(),
            configuration=_digest_configuration(settings),
            parallel=section.parallel,
        )


def limit_model_time(settings: Settings, budget: SearchBudget) -> Settings:
    """Return the settings with an answer of the language model limited to its share of the time budget.

    Without the limit, one question to a model that hangs takes the time of all other backends.
    """
    remaining = budget.remaining_seconds()
    if remaining is None:
        return settings
    share = max(_MIN_SHARE_SECONDS, remaining / max(1, len(settings.search.backend_order)))
    timeout_seconds = min(settings.llm.timeout_seconds, share)
    return msgspec.structs.replace(settings, llm=msgspec.structs.replace(settings.llm, timeout_seconds=timeout_seconds))


def build_cycle_budget(settings: Settings, clock: Clock) -> SearchBudget:
    """Return the configured budget of one cycle."""
    return SearchBudget(clock, seconds=settings.search.budget_seconds, requests=settings.search.budget_requests)


def build_policy(settings: Settings) -> SearchPolicy:
    """Return which files may become FOUND. Configured mirrors are trusted like the sites that they replace."""
    section = settings.search
    urls = (section.civitai_url, section.civitai_fallback_url, section.huggingface_url)
    hosts = {find_host(url) for url in urls}
    mirrors = hosts - HUGGING_FACE_HOSTS - CIVITAI_HOSTS - {""}
    return SearchPolicy(allow_pickle=settings.downloads.allow_pickle, extra_hosts=frozenset(mirrors))


def find_host(url: str) -> str:
    """Return host and port of a configured address; empty for a faulty one."""
    try:
        parse_address(url)
    except Failure:
        return ""
    return urlsplit(url).netloc


def build_civitai(settings: Settings, session: HttpSession) -> Civitai:
    """Return the Civitai client of the configured account."""
    section, key = settings.search, settings.secrets.civitai_api_key
    return Civitai(session, section.civitai_url, section.civitai_fallback_url or None, key or None)


def find_bad_address(settings: Settings, *names: str) -> Failure | None:
    """Return what is wrong with the first faulty address among some keys of `[search]`; None when all are usable."""
    for name in names:
        url = getattr(settings.search, name)
        # Only the first address of a site is needed.
        if not url and name != names[0]:
            continue
        try:
            parse_address(url)
        except Failure:
            return Failure(
                "config-wrong-type",
                f"[search] {name} is not a plain http or https address ({printable_url(url)}), so it is not queried.",
                hint=f"Correct [search] {name}: scheme, host, port and path, without a user name.",
            )
    return None


def _build_hubs(settings: Settings, open_session: Callable[..., HttpSession]) -> Hubs:
    section, secrets = settings.search, settings.secrets
    return Hubs(
        civitai=build_civitai(settings, open_session("civitai_url", "civitai_fallback_url")),
        huggingface=HuggingFace(open_session("huggingface_url"), section.huggingface_url, secrets.hf_token or None),
        civarchive=CivArchive(open_session("civarchive_url"), section.civarchive_url),
    )


def _build_model_search(settings: Settings, session: HttpSession, stack: ExitStack) -> ModelSearch | None:
    provider = _open_provider(settings, stack)
    if provider is None:
        return None
    return ModelSearch(provider, settings.llm.rounds, _build_web_search(settings, session))


def _open_provider(settings: Settings, stack: ExitStack) -> CandidateProvider | None:
    section, key = settings.llm, settings.secrets.llm_api_key
    if section.driver in {"none", "auto"}:
        # `auto` stands for what `detect_language_model` found; without a look there is none.
        return None
    if section.driver == "qwen-cli":
        return QwenCommand(
            command=section.command,
            base_url=section.base_url,
            model=section.model,
            key=key,
            timeout_seconds=section.timeout_seconds,
        )
    # A session of its own: a language model may take longer than a site, and its requests are not in the budget.
    session = stack.enter_context(HttpSession(timeout_seconds=section.timeout_seconds, max_bytes=_MAX_COMPLETION_BYTES))
    return ChatCompletions(session, base_url=section.base_url, model=section.model, key=key)


def _build_web_search(settings: Settings, session: HttpSession) -> WebSearch | None:
    section = settings.search
    if section.web_search == "tavily" and settings.secrets.tavily_api_key:
        url = section.web_search_url or TAVILY_URL
        return partial(search_tavily, session, key=settings.secrets.tavily_api_key, base_url=url)
    if section.web_search == "searxng" and section.web_search_url:
        return partial(search_searxng, session, base_url=section.web_search_url)
    return None


def _digest_configuration(settings: Settings) -> str:
    """Return a digest of the backends, the language model and the accounts. Budgets and timeouts change no result."""
    search, llm = msgspec.to_builtins(settings.search), msgspec.to_builtins(settings.llm)
    for name in ("budget_seconds", "budget_requests", "parallel", "timeout_seconds", "backend_order"):
        search.pop(name, None)
    llm.pop("timeout_seconds", None)
    model = llm if llm["driver"] not in {"none", "auto"} else "none"
    return compute_digest((_SEARCH_VERSION, search, model, settings.downloads.allow_pickle, digest_accounts(settings)))
