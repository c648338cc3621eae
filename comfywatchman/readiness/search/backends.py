"""Queries the search backends for one model, in their order, up to the first FOUND."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final, cast

import msgspec

from comfywatchman.readiness.search.claims import ModelQuery
from comfywatchman.readiness.search.context import Backend, SearchContext, SearchItem
from comfywatchman.readiness.search.gather import (
    build_query_terms,
    describe_no_search_terms,
    search_civarchive,
    search_civitai,
    search_hugging_face,
    verify_proposals,
)
from comfywatchman.readiness.search.qwen import ModelSearch
from comfywatchman.readiness.search.results import (
    BackendSkipReason,
    BackendStatus,
    MatchConfidence,
    SearchResult,
    SearchStatus,
    SkippedBackend,
    merge_results,
)
from comfywatchman.readiness.states import SearchDoubt

_CATALOGUES: Final[frozenset[Backend]] = frozenset({"civitai", "huggingface"})

_log = logging.getLogger(__name__)


def query_backends(item: SearchItem, search: SearchContext, backends: Sequence[Backend], now: str) -> SearchResult:
    """Verify the known proposals of a model, then query the backends up to the first FOUND.

    A FOUND by name alone does not end the search: the other catalogue may have different bytes under that name.
    Without backends no site is asked, not even about the proposals.
    """
    refusal = search.budget.refusal()
    if refusal is not None:
        return build_error(item.query, refusal, now)
    if not backends:
        return build_error(item.query, "The search is switched off ([search] backend_order is empty).", now)
    skipped = []
    usable = []
    for backend in backends:
        skip_reason = _find_skip_reason(backend, item.query, search)
        if skip_reason is None:
            usable.append(backend)
        else:
            skipped.append(SkippedBackend(backend, skip_reason))

    declared = verify_proposals(item.query, item.evidence, search.hubs, policy=search.policy, searched_at=now)
    results = [declared]
    for backend in usable:
        if _is_settled(results):
            break
        is_found = any(result.status is SearchStatus.FOUND for result in results)
        if not is_found or backend in _CATALOGUES:
            results.append(_query_backend(backend, item.query, search, now))
    if not usable:
        results.append(_build_unasked(item.query, skipped, now))
    result = msgspec.structs.replace(merge_results(results), skipped=tuple(skipped))
    _log.info(
        "missing model searched",
        extra={"model": result.filename, "folder": result.type, "status": result.status.value, "asked": usable},
    )
    return result


def build_error(query: ModelQuery, reason: str, now: str) -> SearchResult:
    """Return an ERROR result with a sentence as its evidence."""
    return SearchResult(SearchStatus.ERROR, query.filename, query.folder, now, evidence=(reason,))


def _build_unasked(query: ModelQuery, skipped: Sequence[SkippedBackend], now: str) -> SearchResult:
    """Return the result of a search in which no backend was queried: ERROR, as "not found" would claim too much.

    A name that gives no words to search for is not an error, since asking again would change nothing.
    """
    if any(entry.reason is BackendSkipReason.NO_SEARCH_TERMS for entry in skipped):
        evidence = (describe_no_search_terms(query),)
        status, doubt = SearchStatus.UNCERTAIN, SearchDoubt.NOT_ASKED
        return SearchResult(status, query.filename, query.folder, now, evidence=evidence, doubt=doubt)
    return build_error(query, "No usable search backend is configured.", now)


def _is_settled(results: Sequence[SearchResult]) -> bool:
    """Return whether a result is final: the FOUND of a known proposal, which is the first result, or one by hash."""
    if results[0].status is SearchStatus.FOUND:
        return True
    return any(result.confidence is MatchConfidence.HASH for result in results)


def _find_skip_reason(backend: Backend, query: ModelQuery, search: SearchContext) -> BackendSkipReason | None:
    if backend == "qwen" and search.language_model is None:
        return BackendSkipReason.NO_LANGUAGE_MODEL
    if backend == "civarchive" and query.sha256 is None:
        return BackendSkipReason.NO_DECLARED_HASH
    is_found_by_hash = backend == "civitai" and query.sha256 is not None
    if backend in _CATALOGUES and not is_found_by_hash and not build_query_terms(query):
        return BackendSkipReason.NO_SEARCH_TERMS
    return None


def _query_backend(backend: Backend, query: ModelQuery, search: SearchContext, now: str) -> SearchResult:
    hubs, policy = search.hubs, search.policy
    if backend == "qwen":
        # `_find_skip_reason` has excluded None.
        language_model = cast("ModelSearch", search.language_model)
        result = language_model.search(query, hubs, policy=policy, searched_at=now, budget=search.budget)
    elif backend == "civitai":
        result = search_civitai(query, hubs, policy=policy, searched_at=now)
    elif backend == "huggingface":
        result = search_hugging_face(query, hubs, policy=policy, searched_at=now)
    else:
        result = search_civarchive(query, hubs, policy=policy, searched_at=now)
    return msgspec.structs.replace(result, backends=(BackendStatus(backend, result.status, result.doubt),))
