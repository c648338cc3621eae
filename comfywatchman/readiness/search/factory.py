"""From the configuration to a search that can ask: connections, hubs, language model, memory and budget."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import msgspec

from comfywatchman.base.clock import Clock
from comfywatchman.base.http import Session
from comfywatchman.base.settings import Settings
from comfywatchman.readiness.database import Database
from comfywatchman.readiness.search.budget import Budget, BudgetedSession
from comfywatchman.readiness.search.cache import SearchMemory, digest_of
from comfywatchman.readiness.search.chain import Search
from comfywatchman.readiness.search.decisions import Decisions
from comfywatchman.readiness.search.gather import Hubs
from comfywatchman.readiness.search.qwen import ModelSearch
from comfywatchman.readiness.search.verify import Policy
from comfywatchman.sources.civarchive import CivArchive
from comfywatchman.sources.civitai.client import Civitai
from comfywatchman.sources.huggingface import HuggingFace
from comfywatchman.sources.llm.openai import ChatCompletions
from comfywatchman.sources.llm.qwen_cli import QwenCommand
from comfywatchman.sources.llm.ranking import CandidateProvider
from comfywatchman.sources.llm.web_search import TAVILY_URL, WebSearch, searxng, tavily
from comfywatchman.sources.urls import CIVITAI_HOSTS, HUGGING_FACE_HOSTS

_SEARCH_VERSION: Final = 2
"""Raised when searching changes, so that what an older version did not find is asked again."""

_LONGEST_COMPLETION: Final = 1 << 20


@contextmanager
def open_search(
    settings: Settings,
    *,
    clock: Clock,
    budget: Budget,
    database: Database | None = None,
    decisions: Decisions | None = None,
) -> Iterator[Search]:
    """Open what a search needs while the block runs; nothing is asked yet.

    Args:
        settings: The effective settings, keys included.
        clock: For times and ages.
        budget: How much may be asked (`cycle_budget` for a cycle).
        database: Keeps answers; None to remember nothing.
        decisions: What a person has chosen.
    """
    section = settings.search
    with ExitStack() as stack:
        session = stack.enter_context(BudgetedSession(budget, timeout_seconds=section.timeout_seconds))
        yield Search(
            hubs=_hubs(settings, session),
            policy=policy_of(settings),
            backend_order=section.backend_order,
            budget=budget,
            clock=clock,
            model=_model(settings, session, stack),
            memory=SearchMemory(database, now=clock.now()) if database is not None else None,
            decisions=decisions or Decisions(),
            configuration=_configuration(settings),
            parallel=section.parallel,
        )


def cycle_budget(settings: Settings, clock: Clock) -> Budget:
    """Return how much one cycle may ask."""
    return Budget(clock, seconds=settings.search.budget_seconds, requests=settings.search.budget_requests)


def policy_of(settings: Settings) -> Policy:
    """Return what may become FOUND; hosts that the configuration names are trusted like the sites they stand for."""
    section = settings.search
    urls = (section.civitai_url, section.civitai_fallback_url, section.huggingface_url)
    hosts = {urlsplit(url).netloc for url in urls if url}
    own = frozenset(host for host in hosts - HUGGING_FACE_HOSTS - CIVITAI_HOSTS if host)
    return Policy(allow_pickle=settings.downloads.allow_pickle, extra_hosts=own)


def civitai_of(settings: Settings, session: Session) -> Civitai:
    """Return the configured account's view of Civitai."""
    section, key = settings.search, settings.secrets.civitai_api_key
    return Civitai(session, section.civitai_url, section.civitai_fallback_url or None, key or None)


def _hubs(settings: Settings, session: Session) -> Hubs:
    section, secrets = settings.search, settings.secrets
    return Hubs(
        civitai=civitai_of(settings, session),
        huggingface=HuggingFace(session, section.huggingface_url, secrets.hf_token or None),
        civarchive=CivArchive(session, section.civarchive_url),
    )


def _model(settings: Settings, session: Session, stack: ExitStack) -> ModelSearch | None:
    provider = _provider(settings, stack)
    if provider is None:
        return None
    return ModelSearch(provider, settings.llm.rounds, _web_search(settings, session))


def _provider(settings: Settings, stack: ExitStack) -> CandidateProvider | None:
    section, key = settings.llm, settings.secrets.llm_api_key
    if section.driver == "none":
        return None
    if section.driver == "qwen-cli":
        return QwenCommand(
            command=section.command,
            base_url=section.base_url,
            model=section.model,
            key=key,
            timeout_seconds=section.timeout_seconds,
        )
    # Its own connection: a model may think longer than a site may take to answer.
    session = stack.enter_context(Session(timeout_seconds=section.timeout_seconds, max_bytes=_LONGEST_COMPLETION))
    return ChatCompletions(session, base_url=section.base_url, model=section.model, key=key)


def _web_search(settings: Settings, session: Session) -> WebSearch | None:
    section = settings.search
    if section.web_search == "tavily" and settings.secrets.tavily_api_key:
        url = section.web_search_url or TAVILY_URL
        return partial(tavily, session, key=settings.secrets.tavily_api_key, base_url=url)
    if section.web_search == "searxng" and section.web_search_url:
        return partial(searxng, session, base_url=section.web_search_url)
    return None


def _configuration(settings: Settings) -> str:
    """Return a digest of whom a search asks; budgets, waits and keys are no part of it."""
    search, llm = msgspec.to_builtins(settings.search), msgspec.to_builtins(settings.llm)
    for name in ("budget_seconds", "budget_requests", "parallel", "timeout_seconds", "backend_order"):
        search.pop(name, None)
    llm.pop("timeout_seconds", None)
    model = llm if llm["driver"] != "none" else "none"
    return digest_of((_SEARCH_VERSION, search, model, settings.downloads.allow_pickle))
