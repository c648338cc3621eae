"""The search for missing models: what is known already, then one backend after the other, within what may be asked."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Final, Literal, TypeGuard, cast

import msgspec

from comfywatchman.base.clock import Clock, format_utc
from comfywatchman.readiness.search.budget import SearchBudget
from comfywatchman.readiness.search.cache import CachedSearch, SearchCache, cache_key, compute_digest
from comfywatchman.readiness.search.claims import ModelQuery, Proposal
from comfywatchman.readiness.search.decisions import Decisions
from comfywatchman.readiness.search.gather import (
    Hubs,
    fetch_records,
    search_civarchive,
    search_civitai,
    search_hugging_face,
    verify_proposals,
)
from comfywatchman.readiness.search.qwen import ModelSearch
from comfywatchman.readiness.search.results import SearchResult, SearchStatus, merge_results
from comfywatchman.readiness.search.verify import SearchPolicy, reason_invalid

Backend = Literal["qwen", "civitai", "huggingface", "civarchive"]

BACKENDS: Final[tuple[Backend, ...]] = ("qwen", "civitai", "huggingface", "civarchive")
_CATALOGUES: Final[frozenset[Backend]] = frozenset({"civitai", "huggingface"})
NOT_ASKED_YET: Final = "Not asked yet"
NO_MODEL: Final = "qwen: no language model is configured ([llm] driver)."
NO_HASH: Final = "civarchive: no hash is declared, and it is asked by hash only."

_log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Told how many of how many models have their answer."""


@dataclass(frozen=True, slots=True)
class SearchItem:
    """A missing model with what is known of it before anybody is asked.

    Attributes:
        wanted: The model.
        evidence: What workflows, notes and local catalogues propose, the most trusted first.
        notes: Sentences for the answer's evidence, such as where this host has a file of that name or hash.
    """

    wanted: ModelQuery
    evidence: tuple[Proposal, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SearchContext:
    """What a search works with.

    Attributes:
        hubs: Whom it may ask.
        policy: What may become FOUND.
        backend_order: Who is asked when the call names nobody.
        budget: How much it may ask.
        clock: For the time of each answer.
        model: The language model behind `qwen`; None while none is configured.
        memory: Answers of earlier searches; None to remember nothing.
        decisions: What a person has chosen.
        configuration: Changes with whom the hubs and the model are; answers are remembered for it.
        parallel: How many models are looked for at the same time.
    """

    hubs: Hubs
    policy: SearchPolicy
    backend_order: tuple[Backend, ...]
    budget: SearchBudget
    clock: Clock
    model: ModelSearch | None = None
    memory: SearchCache | None = None
    decisions: Decisions = field(default_factory=Decisions)
    configuration: str = ""
    parallel: int = 4


def search_multiple_models(
    refs: Sequence[SearchItem],
    search: SearchContext,
    *,
    backends: Sequence[Backend] | None = None,
    refresh: bool = False,
    retry_errors: bool = False,
    progress: Progress = lambda _done, _all: None,
) -> list[SearchResult]:
    """Return an answer for each model, in their order; nobody's trouble raises.

    What nobody could be asked about within the budget says so in its evidence (see `is_not_asked`) and is not
    remembered, so that the next search goes on there.

    Args:
        refs: The models; the same one twice is looked for once.
        search: What to work with.
        backends: Who is asked in this call, in this order, instead of the configured ones.
        refresh: Ask again whatever is remembered.
        retry_errors: Ask again where the answer was an error, also within its hour: a person is waiting.
        progress: Told after each answer.
    """
    order = tuple(search.backend_order if backends is None else backends)
    context = compute_digest((order, search.configuration))
    again = frozenset(SearchStatus) if refresh else frozenset({SearchStatus.ERROR}) if retry_errors else frozenset()
    tasks = {cache_key(ref.wanted, ref.evidence): ref for ref in refs}
    answers: dict[str, SearchResult] = {}
    with ThreadPoolExecutor(max_workers=search.parallel, thread_name_prefix="search") as pool:
        try:
            for key, done in _run_searches(pool, tasks, search, order, context=context, again=again):
                # Only this thread touches the database.
                if search.memory is not None:
                    _store_outcome(search.memory, key, context, done)
                answers[key] = _add_notes(done.answer, tasks[key].notes)
                progress(len(answers), len(tasks))
        except BaseException:
            search.budget.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [answers[cache_key(ref.wanted, ref.evidence)] for ref in refs]


def is_not_asked(answer: SearchResult) -> bool:
    """Say whether an answer only tells that the budget left no room to ask, or not to ask again."""
    return any(line.startswith(NOT_ASKED_YET) for line in answer.evidence)


@dataclass(frozen=True, slots=True)
class _SearchOutcome:
    """An answer with what the memory makes of it.

    Attributes:
        answer: The answer.
        keep: Whether it is remembered.
        disproved: Whether all that was remembered of the model before is dropped.
    """

    answer: SearchResult
    keep: bool = False
    disproved: bool = False


def _run_searches(
    pool: ThreadPoolExecutor,
    tasks: Mapping[str, SearchItem],
    search: SearchContext,
    order: tuple[Backend, ...],
    *,
    context: str,
    again: frozenset[SearchStatus],
) -> Iterator[tuple[str, _SearchOutcome]]:
    running: dict[Future[_SearchOutcome], str] = {}
    for key, ref in tasks.items():
        recalled = search.memory.look_up(key, context) if search.memory is not None else CachedSearch()
        known = _find_known_answer(ref, recalled, search, again)
        if known is not None:
            yield key, _SearchOutcome(known)
        else:
            running[pool.submit(_search_model, ref, recalled, search, order, again)] = key
    for done in as_completed(running):
        yield running[done], done.result()


def _find_known_answer(
    ref: SearchItem, recalled: CachedSearch, search: SearchContext, again: frozenset[SearchStatus]
) -> SearchResult | None:
    """Return the answer that needs nobody: an impossible name, a person's choice, or one that is remembered."""
    now = format_utc(search.clock.now())
    if reason_invalid(ref.wanted) is not None:
        return verify_proposals(ref.wanted, (), search.hubs, policy=search.policy, searched_at=now)
    chosen = search.decisions.find_result(ref.wanted, search.policy, now)
    if chosen is not None:
        return chosen
    if recalled.answer is None or recalled.aged or recalled.answer.status in again:
        return None
    return merge_results([recalled.answer, *recalled.doubts])


def _search_model(
    ref: SearchItem,
    recalled: CachedSearch,
    search: SearchContext,
    order: tuple[Backend, ...],
    again: frozenset[SearchStatus],
) -> _SearchOutcome:
    now = format_utc(search.clock.now())
    disproved = False
    if recalled.answer is not None and recalled.answer.status not in again:
        still = _recheck_found(recalled.answer, ref.wanted, search)
        if still is not None:
            return _SearchOutcome(recalled.answer, keep=still)
        disproved = True
    answer = _ask_backends(ref, search, order, now)
    refusal = search.budget.refusal()
    refreshed = SearchStatus.UNCERTAIN in again
    doubts = () if refreshed else recalled.doubts
    if answer.status is SearchStatus.ERROR:
        if refusal is not None:
            return _SearchOutcome(_build_not_asked(ref.wanted, recalled, refusal, now), disproved=disproved)
        # What is known already is neither forgotten nor taken back because nobody answered this time.
        known = recalled.answer or recalled.outdated
        doubts += (known,) if _has_status(known, SearchStatus.UNCERTAIN) else ()
        return _SearchOutcome(
            merge_results([answer, *doubts]), known is None or _has_status(known, SearchStatus.ERROR), disproved
        )
    keep = refusal is None or answer.status is SearchStatus.FOUND
    return _SearchOutcome(merge_results([answer, *doubts]), keep, disproved or (keep and refreshed))


def _has_status(known: SearchResult | None, status: SearchStatus) -> TypeGuard[SearchResult]:
    return known is not None and known.status is status


def _ask_backends(ref: SearchItem, search: SearchContext, order: tuple[Backend, ...], now: str) -> SearchResult:
    """Ask the evidence and then the backends, up to the first FOUND.

    What one catalogue has under the name alone, another may have with other bytes; so that is asked too.
    """
    refusal = search.budget.refusal()
    if refusal is not None:
        return _build_error(ref.wanted, refusal, now)
    results = [verify_proposals(ref.wanted, ref.evidence, search.hubs, policy=search.policy, searched_at=now)]
    left_out = {backend: reason for backend in order if (reason := _reason_to_skip(backend, ref.wanted, search))}
    usable = [backend for backend in order if backend not in left_out]
    for backend in usable:
        found = [one for one in results if one.status is SearchStatus.FOUND]
        if results[0] in found or any(one.confidence == "hash" for one in found):
            break
        if not found or backend in _CATALOGUES:
            results.append(_ask_backend(backend, ref.wanted, search, now))
    if not usable:
        # Nobody was asked, so nothing is known to be missing everywhere.
        results.append(_build_error(ref.wanted, "No backend was asked.", now))
    answer = merge_results(results)
    facts = {"model": answer.filename, "folder": answer.type, "status": answer.status.value, "asked": usable}
    _log.info("missing model searched", extra=facts)
    return msgspec.structs.replace(answer, evidence=(*answer.evidence, *left_out.values()))


def _reason_to_skip(backend: Backend, wanted: ModelQuery, search: SearchContext) -> str | None:
    if backend == "qwen" and search.model is None:
        return NO_MODEL
    return NO_HASH if backend == "civarchive" and wanted.sha256 is None else None


def _ask_backend(backend: Backend, wanted: ModelQuery, search: SearchContext, now: str) -> SearchResult:
    hubs, policy = search.hubs, search.policy
    if backend == "qwen":
        # Without a model the chain leaves this backend out.
        answer = cast("ModelSearch", search.model).search(
            wanted, hubs, policy=policy, searched_at=now, budget=search.budget
        )
    elif backend == "civitai":
        answer = search_civitai(wanted, hubs, policy=policy, searched_at=now)
    elif backend == "huggingface":
        answer = search_hugging_face(wanted, hubs, policy=policy, searched_at=now)
    else:
        answer = search_civarchive(wanted, hubs, policy=policy, searched_at=now)
    return msgspec.structs.replace(answer, evidence=(*answer.evidence, f"{backend}: {answer.status.value}."))


def _recheck_found(answer: SearchResult, wanted: ModelQuery, search: SearchContext) -> bool | None:
    """Hold an old FOUND against its hub.

    Returns:
        True when the file still has its hash, False when nobody could be asked, None when it is gone or another one.
    """
    claim = Proposal("workflow", "an earlier search", answer.ids, answer.filename, answer.sha256)
    facts = fetch_records(claim, wanted, search.hubs)
    if any(one.state == "there" and one.sha256 == answer.sha256 for one in facts):
        return True
    return False if any(one.state in {"unknown", "unverifiable"} for one in facts) else None


def _build_not_asked(wanted: ModelQuery, recalled: CachedSearch, reason: str, now: str) -> SearchResult:
    old = recalled.outdated
    if old is None or old.status is SearchStatus.ERROR:
        return _build_error(wanted, f"{NOT_ASKED_YET}: {reason}.", now)
    line = f"{NOT_ASKED_YET} since {old.searched_at}: {reason}."
    return merge_results([msgspec.structs.replace(old, evidence=(*old.evidence, line)), *recalled.doubts])


def _store_outcome(memory: SearchCache, key: str, context: str, done: _SearchOutcome) -> None:
    if done.disproved:
        memory.forget(key)
    if done.keep:
        memory.store(key, context, done.answer)


def _build_error(wanted: ModelQuery, reason: str, now: str) -> SearchResult:
    return SearchResult(SearchStatus.ERROR, wanted.filename, wanted.folder, now, evidence=(reason,))


def _add_notes(answer: SearchResult, notes: tuple[str, ...]) -> SearchResult:
    if not notes:
        return answer
    return msgspec.structs.replace(answer, evidence=tuple(dict.fromkeys((*notes, *answer.evidence))))
