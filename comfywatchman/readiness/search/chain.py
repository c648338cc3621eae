"""The search for missing models: cached results first, then the backends, within the budget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from enum import Enum, auto

import msgspec

from comfywatchman.base.clock import format_utc
from comfywatchman.readiness.search.access import confirm_access
from comfywatchman.readiness.search.backends import build_error, query_backends
from comfywatchman.readiness.search.cache import CachedSearch, SearchCache, cache_key, compute_digest
from comfywatchman.readiness.search.claims import UNANSWERED_STATES, HubState, ModelQuery, Proposal
from comfywatchman.readiness.search.context import Backend, Progress, SearchContext, SearchItem
from comfywatchman.readiness.search.gather import fetch_records, verify_proposals
from comfywatchman.readiness.search.results import SearchResult, SearchStatus, merge_results
from comfywatchman.readiness.search.verify import reason_invalid
from comfywatchman.readiness.states import SearchDoubt


def search_multiple_models(
    items: Sequence[SearchItem],
    search: SearchContext,
    *,
    backends: Sequence[Backend] | None = None,
    refresh: bool = False,
    retry_errors: bool = False,
    progress: Progress = lambda _done, _all: None,
) -> list[SearchResult]:
    """Return one result for each model, in input order. Backend failures become ERROR results; nothing is raised.

    A result that the budget did not allow to search for is `postponed`. It is not cached, so that the next search
    continues there.

    Args:
        items: The models; repeated ones are searched for once.
        search: Hubs, budget and cache.
        backends: Backends to query in this call, in this order, instead of the configured ones.
        refresh: Ignore cached results.
        retry_errors: Ignore cached errors, also within their hour: a person is waiting.
        progress: Called after each result.
    """
    chosen_backends = tuple(search.backend_order if backends is None else backends)
    run = _SearchRun(search, chosen_backends, _list_statuses_to_refresh(refresh=refresh, retry_errors=retry_errors))
    distinct = {cache_key(item.query, item.evidence): item for item in items}
    results: dict[str, SearchResult] = {}
    with ThreadPoolExecutor(max_workers=search.parallel, thread_name_prefix="search") as pool:
        try:
            for key, outcome in _run_searches(pool, distinct, run):
                # SQLite connections belong to one thread: only this one reads and writes the cache.
                if search.cache is not None:
                    _store_outcome(search.cache, key, run.cache_context, outcome)
                results[key] = _add_notes(outcome.result, distinct[key].notes)
                progress(len(results), len(distinct))
        except BaseException:
            # Running threads end at their next request, waiting ones never start.
            search.budget.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [results[cache_key(item.query, item.evidence)] for item in items]


def _list_statuses_to_refresh(*, refresh: bool, retry_errors: bool) -> frozenset[SearchStatus]:
    if refresh:
        return frozenset(SearchStatus)
    if retry_errors:
        return frozenset({SearchStatus.ERROR})
    return frozenset()


class _Recheck(Enum):
    """The result of rechecking a stored FOUND."""

    CONFIRMED = auto()
    UNANSWERED = auto()
    DISPROVED = auto()


@dataclass(frozen=True, slots=True)
class _SearchOutcome:
    """A result, and what happens to the cache.

    Attributes:
        result: The result.
        store: Whether to cache it.
        forget: Whether to delete all earlier results for the model first.
    """

    result: SearchResult
    store: bool = False
    forget: bool = False


@dataclass(frozen=True, slots=True)
class _SearchRun:
    """The search of one call; threads share it.

    Attributes:
        context: Hubs, budget and cache.
        backends: Backends to query, in this order.
        refresh: Cached results of these statuses are ignored.
    """

    context: SearchContext
    backends: tuple[Backend, ...]
    refresh: frozenset[SearchStatus]

    @property
    def cache_context(self) -> str:
        """Digest of the backends and their configuration; cached results belong to it."""
        return compute_digest((self.backends, self.context.configuration))

    def ignores(self, cached: SearchResult) -> bool:
        """Return whether a cached result is to be replaced; an unreadable answer is as good as an error."""
        if cached.status in self.refresh:
            return True
        # A person who is waiting may have accepted terms or bought access in the meantime.
        is_closed = cached.doubt in {SearchDoubt.ACCESS_RESTRICTED, SearchDoubt.PRIVATE_OR_GONE}
        return SearchStatus.ERROR in self.refresh and (cached.is_unreadable or is_closed)

    def find_known_result(self, item: SearchItem, cached: CachedSearch) -> SearchResult | None:
        """Return the result that needs no request: an invalid name, a person's choice, or a current cached result."""
        context = self.context
        now = format_utc(context.clock.now())
        if reason_invalid(item.query) is not None:
            return verify_proposals(item.query, (), context.hubs, policy=context.policy, searched_at=now)
        chosen = context.decisions.find_result(item.query, context.policy, now)
        if chosen is not None:
            return chosen
        if cached.result is None or self.ignores(cached.result):
            return None
        if cached.needs_recheck and self.backends:
            return None
        return merge_results([cached.result, *cached.doubts])

    def search(self, item: SearchItem, cached: CachedSearch) -> _SearchOutcome:
        """Search for one model, or verify its old FOUND again."""
        context = self.context
        now = format_utc(context.clock.now())
        is_disproved = False
        if cached.result is not None and not self.ignores(cached.result):
            # Current results never get here (`find_known_result`), so this one is a FOUND that needs a recheck.
            recheck = _recheck_found(cached.result, item.query, context)
            if recheck is not _Recheck.DISPROVED:
                return _SearchOutcome(cached.result, store=recheck is _Recheck.CONFIRMED)
            is_disproved = True
        result = query_backends(item, context, self.backends, now)
        refusal = context.budget.refusal()
        ignores_doubts = SearchStatus.UNCERTAIN in self.refresh
        doubts = [] if ignores_doubts else list(cached.doubts)
        if result.status is not SearchStatus.ERROR:
            # A result of a search that the budget cut short is incomplete, unless it is a FOUND.
            store = refusal is None or result.status is SearchStatus.FOUND
            return _SearchOutcome(merge_results([result, *doubts]), store, is_disproved or (store and ignores_doubts))
        if refusal is not None:
            return _SearchOutcome(_build_postponed(item.query, cached, refusal, now), forget=is_disproved)
        # An error neither deletes nor overrides what an earlier search found out.
        earlier = cached.result or cached.outdated
        if earlier is not None and earlier.status is SearchStatus.UNCERTAIN:
            doubts.append(earlier)
        store = earlier is None or earlier.status is SearchStatus.ERROR
        return _SearchOutcome(merge_results([result, *doubts]), store, is_disproved)


def _run_searches(
    pool: ThreadPoolExecutor, items: Mapping[str, SearchItem], run: _SearchRun
) -> Iterator[tuple[str, _SearchOutcome]]:
    """Yield the key and outcome of each model: first those that need no request, then the others as they finish."""
    cache = run.context.cache
    running: dict[Future[_SearchOutcome], str] = {}
    for key, item in items.items():
        cached = cache.look_up(key, run.cache_context) if cache is not None else CachedSearch()
        known = run.find_known_result(item, cached)
        if known is not None:
            yield key, _SearchOutcome(known)
        else:
            running[pool.submit(run.search, item, cached)] = key
    for future in as_completed(running):
        yield running[future], future.result()


def _recheck_found(found: SearchResult, query: ModelQuery, search: SearchContext) -> _Recheck:
    """Verify an old FOUND with its hub again."""
    proposal = Proposal("workflow", "an earlier search", found.ids, found.filename, found.sha256)
    fetched = fetch_records(proposal, query, search.hubs)
    records = confirm_access(query, fetched, search.hubs.civitai, search.policy)
    present = [record for record in records if record.state is HubState.PRESENT and record.restriction is None]
    if any(record.sha256 == found.sha256 for record in present):
        return _Recheck.CONFIRMED
    undecided = UNANSWERED_STATES | {HubState.UNVERIFIABLE, HubState.CUT}
    if any(record.state in undecided or record.unreadable for record in records):
        return _Recheck.UNANSWERED
    return _Recheck.DISPROVED


def _build_postponed(query: ModelQuery, cached: CachedSearch, refusal: str, now: str) -> SearchResult:
    """Return the outdated result of a model that the budget did not allow to search for, else an ERROR."""
    outdated = cached.outdated
    if outdated is None or outdated.status is SearchStatus.ERROR:
        error = build_error(query, f"Not searched yet: {refusal}.", now)
        return msgspec.structs.replace(error, postponed=True)
    line = f"Not searched again since {outdated.searched_at}: {refusal}."
    outdated = msgspec.structs.replace(outdated, evidence=(*outdated.evidence, line), postponed=True)
    return merge_results([outdated, *cached.doubts])


def _store_outcome(cache: SearchCache, key: str, cache_context: str, outcome: _SearchOutcome) -> None:
    if outcome.forget:
        cache.forget(key)
    if outcome.store:
        cache.store(key, cache_context, outcome.result)


def _add_notes(result: SearchResult, notes: tuple[str, ...]) -> SearchResult:
    if not notes:
        return result
    return msgspec.structs.replace(result, evidence=tuple(dict.fromkeys((*notes, *result.evidence))))
