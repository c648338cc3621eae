"""One call from what workflows lack to an answer for each model, for cycles and the command line alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from comfywatchman.base.clock import Clock
from comfywatchman.base.files import CorruptFile
from comfywatchman.base.settings import Settings
from comfywatchman.readiness.database import Database
from comfywatchman.readiness.layout import ReadinessLayout
from comfywatchman.readiness.search.budget import SearchBudget
from comfywatchman.readiness.search.chain import search_multiple_models
from comfywatchman.readiness.search.context import Backend
from comfywatchman.readiness.search.decisions import load_decisions
from comfywatchman.readiness.search.factory import build_policy, open_search
from comfywatchman.readiness.search.queries import build_search_items, load_local_catalogue
from comfywatchman.readiness.search.results import SearchResult, SearchStatus, describe_unreachable
from comfywatchman.readiness.status import MissingModel
from comfywatchman.readiness.workflow_facts import WorkflowFacts


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """What a search for missing models works on.

    Attributes:
        settings: The effective settings, keys included.
        layout: Where decisions and caches are.
        root: ComfyUI's folder.
        custom_nodes: Where its node packs are.
        clock: The clock.
        database: Keeps the answers.
        budget: How much may be asked.
        list_local_models: Returns the model files of this host by SHA-256; called only if something is missing.
        backends: Whom to ask this time; the configured order when None.
        refresh: Ask again whatever is remembered.
        retry_errors: Ask again where the answer was an error, because a person is waiting.
        progress: Told how many of how many models have their answer.
    """

    settings: Settings
    layout: ReadinessLayout
    root: Path
    custom_nodes: tuple[Path, ...]
    clock: Clock
    database: Database
    budget: SearchBudget
    list_local_models: Callable[[], Mapping[str, str]] = dict
    backends: Sequence[Backend] | None = None
    refresh: bool = False
    retry_errors: bool = False
    progress: Callable[[int, int], None] = lambda _done, _all: None


@dataclass(frozen=True, slots=True)
class SearchReport:
    """What came of a search.

    Attributes:
        results: One for each missing model, by `filename` and `type`; none for what only a person can mend here.
        problems: What went wrong beside the search.
    """

    results: tuple[SearchResult, ...] = ()
    problems: tuple[str | CorruptFile, ...] = ()


def resolve_missing(missing: Iterable[tuple[WorkflowFacts, MissingModel]], request: SearchRequest) -> SearchReport:
    """Return an answer for each model that is missing or broken; nobody's trouble raises.

    Args:
        missing: What a workflow names, and one model that it lacks.
        request: What to work on.
    """
    listed = list(missing)
    if not listed:
        return SearchReport()
    settings, layout = request.settings, request.layout
    catalogue = load_local_catalogue(request.root, request.custom_nodes, cache=layout.model_catalogue)
    refs = build_search_items(
        listed, policy=build_policy(settings), catalogue=catalogue, local_models=request.list_local_models()
    )
    decisions, damaged = load_decisions(layout.decisions)
    with open_search(
        settings, clock=request.clock, budget=request.budget, database=request.database, decisions=decisions
    ) as search:
        results = search_multiple_models(
            refs,
            search,
            backends=request.backends,
            refresh=request.refresh,
            retry_errors=request.retry_errors,
            progress=request.progress,
        )
        store_problems = search.cache.problems if search.cache is not None else []
    own = (*catalogue.problems, *store_problems, *((damaged,) if damaged is not None else ()))
    return SearchReport(tuple(results), (*own, *_describe_silent_sites(results, request)))


def _describe_silent_sites(results: Sequence[SearchResult], request: SearchRequest) -> Iterator[str]:
    """Say of each site that kept silent, once, how many models wait for it."""
    waiting = Counter(
        source
        for one in results
        if one.status in {SearchStatus.ERROR, SearchStatus.UNCERTAIN}
        for source in one.unreachable
    )
    section, silent = request.settings.search, request.budget.silent
    urls = {
        "civitai": (section.civitai_url, section.civitai_fallback_url),
        "huggingface": (section.huggingface_url,),
        "civarchive": (section.civarchive_url,),
    }
    for source, count in waiting.items():
        told = [silent[host].rstrip(".") for url in urls.get(source, ()) if (host := urlsplit(url).netloc) in silent]
        models = "1 model was" if count == 1 else f"{count} models were"
        why = f" ({'; '.join(told)})" if told else ""
        yield f"{describe_unreachable(source).rstrip('.')}, so {models} not verified there{why}."
