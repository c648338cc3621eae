"""The entry point of the search, for cycles and the command line: from missing models to one result for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from comfywatchman.base.clock import Clock
from comfywatchman.base.settings import SearchSection, Settings
from comfywatchman.base.state.state_file import CorruptFile
from comfywatchman.readiness.database import Database
from comfywatchman.readiness.layout import ReadinessLayout
from comfywatchman.readiness.search.budget import SearchBudget
from comfywatchman.readiness.search.chain import search_multiple_models
from comfywatchman.readiness.search.context import Backend, Progress
from comfywatchman.readiness.search.decisions import load_decisions, mark_candidates
from comfywatchman.readiness.search.factory import build_policy, find_bad_address, find_host, open_search
from comfywatchman.readiness.search.queries import build_search_items, load_local_catalogue
from comfywatchman.readiness.search.results import SearchResult, SearchStatus, describe_unreachable
from comfywatchman.readiness.status import MissingModel
from comfywatchman.readiness.workflow_facts import WorkflowFacts


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """The host, settings and limits of a search for missing models.

    Attributes:
        settings: The effective settings, keys included.
        layout: Paths of decisions and caches.
        root: ComfyUI's folder.
        custom_nodes: Folders of its node packs.
        clock: The clock.
        database: Caches the results.
        budget: Limits of time and requests.
        list_local_models: Returns the model files of this host by SHA-256; called only if something is missing.
        backends: Backends to query in this call; None for the configured order.
        refresh: Ignore cached results.
        retry_errors: Ignore cached errors, because a person is waiting.
        progress: Called with the number of models that have a result, and the number of all models.
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
    progress: Progress = lambda _done, _all: None


@dataclass(frozen=True, slots=True)
class SearchReport:
    """The results of a search.

    Attributes:
        results: One for each missing model, by `filename` and `type`; none for a model that needs no other file.
        problems: Problems beside the results: damaged files, unreachable sites.
    """

    results: tuple[SearchResult, ...] = ()
    problems: tuple[str | CorruptFile, ...] = ()


def resolve_missing(missing: Iterable[tuple[WorkflowFacts, MissingModel]], request: SearchRequest) -> SearchReport:
    """Search for missing and broken models. Backend failures become ERROR results; nothing is raised.

    Args:
        missing: Facts of a workflow, with one model that it lacks.
        request: Host, settings and limits.
    """
    listed = list(missing)
    if not listed:
        return SearchReport()
    settings, layout = request.settings, request.layout
    catalogue = load_local_catalogue(request.root, request.custom_nodes, cache=layout.model_catalogue)
    local_models = request.list_local_models()
    items = build_search_items(listed, policy=build_policy(settings), catalogue=catalogue, local_models=local_models)
    decisions, corrupt_decisions = load_decisions(layout.decisions)
    problems: list[str | CorruptFile] = [*catalogue.problems]
    for names in _list_addresses(settings.search, request.backends or settings.search.backend_order):
        bad_address = find_bad_address(settings, *names)
        if bad_address is not None:
            problems.append(bad_address.message)
    with open_search(
        settings, clock=request.clock, budget=request.budget, database=request.database, decisions=decisions
    ) as search:
        results = search_multiple_models(
            items,
            search,
            backends=request.backends,
            refresh=request.refresh,
            retry_errors=request.retry_errors,
            progress=request.progress,
        )
        if search.cache is not None:
            problems.extend(search.cache.problems)
        if search.language_model is not None and search.language_model.trouble is not None:
            problems.append(f"The language model was left out of this search: {search.language_model.trouble}")
    if corrupt_decisions is not None:
        problems.append(corrupt_decisions)
    problems.extend(_describe_unreachable_sites(results, settings.search, request.budget.unreachable))
    return SearchReport(tuple(mark_candidates(result, local_models) for result in results), tuple(problems))


def _list_addresses(section: SearchSection, backends: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Yield the keys of `[search]` with the addresses of the sites that are queried."""
    chosen = set(backends)
    if chosen & {"qwen", "civitai"}:
        yield "civitai_url", "civitai_fallback_url"
    if chosen & {"qwen", "huggingface"}:
        yield ("huggingface_url",)
    if "civarchive" in chosen:
        yield ("civarchive_url",)
    if "qwen" in chosen and section.web_search != "none" and section.web_search_url:
        yield ("web_search_url",)


def _describe_unreachable_sites(
    results: Sequence[SearchResult], section: SearchSection, unreachable_hosts: Mapping[str, str]
) -> Iterator[str]:
    """Yield one sentence for each unreachable site, with the number of models that it could not verify."""
    waiting: Counter[str] = Counter()
    for result in results:
        if result.status in {SearchStatus.ERROR, SearchStatus.UNCERTAIN}:
            waiting.update(result.unreachable)
    urls = {
        "civitai": (section.civitai_url, section.civitai_fallback_url),
        "huggingface": (section.huggingface_url,),
        "civarchive": (section.civarchive_url,),
    }
    for source, count in waiting.items():
        hosts = [find_host(url) for url in urls.get(source, ())]
        reasons = dict.fromkeys(unreachable_hosts[host].rstrip(".") for host in hosts if host in unreachable_hosts)
        models = "1 model was" if count == 1 else f"{count} models were"
        why = f" ({'; '.join(reasons)})" if reasons else ""
        yield f"{describe_unreachable(source).rstrip('.')}, so {models} not verified there{why}."
