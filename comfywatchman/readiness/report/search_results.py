"""What the search says, in the report: each missing model with its answer and the next step in words. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from comfywatchman.readiness.search.results import SITE_NAMES, SearchResult, SearchStatus, describe_unreachable
from comfywatchman.readiness.search.results import SearchCandidate as Proposed
from comfywatchman.readiness.states import SEARCHED_STATES, ModelState
from comfywatchman.readiness.status import MissingModel, ModelCandidate, PlanSummary, WorkflowEntry


def merge_search_results(
    entries: Sequence[WorkflowEntry],
    results: Iterable[SearchResult],
    *,
    plan: PlanSummary | None = None,
    ask_again_at: str = "",
) -> tuple[WorkflowEntry, ...]:
    """Return the entries with the search result of each missing model; their verdicts stay as they are.

    Args:
        entries: The verdicts.
        results: The answers; one for a model that is no longer missing is passed over.
        plan: The plan that was made of them.
        ask_again_at: When those are asked again who could not be asked, UTC.
    """
    answers = {(result.type, result.filename): result for result in results}
    if not answers:
        return tuple(entries)
    blocked = {(one.folder, one.name): one.reason for one in plan.blocked} if plan is not None else {}
    return tuple(_merge_into_entry(entry, answers, blocked, ask_again_at) for entry in entries)


def _merge_into_entry(
    entry: WorkflowEntry,
    answers: Mapping[tuple[str | None, str], SearchResult],
    blocked: Mapping[tuple[str | None, str], str],
    ask_again_at: str,
) -> WorkflowEntry:
    if not entry.missing_models:
        return entry
    models = []
    for model in entry.missing_models:
        key = (model.folder, model.name)
        result = answers.get(key) if model.status in SEARCHED_STATES else None
        models.append(model if result is None else _merge_into_model(model, result, blocked.get(key), ask_again_at))
    return msgspec.structs.replace(entry, missing_models=tuple(models))


def _merge_into_model(
    model: MissingModel, result: SearchResult, blocked: str | None, ask_again_at: str
) -> MissingModel:
    candidates = tuple(_to_report_candidate(one) for one in result.candidates) or model.candidates
    fix = _describe_next_step(model, result, blocked, ask_again_at)
    return msgspec.structs.replace(model, answer=result.status.value, fix=fix, candidates=candidates)


def _describe_next_step(model: MissingModel, result: SearchResult, blocked: str | None, ask_again_at: str) -> str:
    own = model.fix or ""
    if result.status is SearchStatus.FOUND:
        return _describe_found(model, result, blocked)
    if result.status is SearchStatus.UNCERTAIN:
        return _describe_uncertain(model, result)
    if result.status is SearchStatus.NOT_FOUND:
        asked = [entry.backend for entry in result.backends]
        who = f" (asked: {', '.join(map(site_name, asked))})" if asked else ""
        return f"Not found{who}. {own}".strip()
    if result.status is SearchStatus.ERROR:
        when = f"; it is asked again after {ask_again_at}" if ask_again_at else ""
        silent = " and ".join(map(site_name, result.unreachable))
        trouble = (
            f"The search got no answer of {silent}"
            if silent
            else f"The search could not ask: {_describe_reason(result)}"
        )
        return f"{trouble}{when}. {own}".strip()
    return f"{_describe_reason(result)}. {own}".strip()


def _describe_found(model: MissingModel, result: SearchResult, blocked: str | None) -> str:
    where = f"Found on {site_name(result.source or '')}"
    if blocked is not None:
        return f"{where}, but it cannot be fetched as things stand: {blocked}"
    command = f"comfywatchman download {_quote_argument(model.name)}"
    if model.status is ModelState.INVALID:
        return f"{model.fix or ''} {where}; once the broken file is gone: {command}".strip()
    return f"{where}; fetch it: {command}"


def _quote_argument(name: str) -> str:
    """Return a name as a shell takes it for one word, and the program for no option."""
    return f"-- {shlex.quote(name)}" if name.startswith("-") else shlex.quote(name)


def _describe_uncertain(model: MissingModel, result: SearchResult) -> str:
    own = model.fix or ""
    if any(one.sha256 and one.url for one in result.candidates):
        command = f"comfywatchman resolve --choose {shlex.quote(model.name)} NUMBER"
        return " ".join(("Not certain which file is meant.", own, f"To take one of the candidates: {command}"))
    return f"Not certain: {_describe_reason(result)}. {own}".strip()


def _describe_reason(result: SearchResult) -> str:
    """Return the first thing that speaks against the candidates, or else the first that was said; no full stop."""
    against = [reason for one in result.candidates for reason in one.reasons]
    unreachable = [describe_unreachable(source) for source in result.unreachable]
    return (*against, *result.evidence, *unreachable, "nobody said why")[0].rstrip(".")


def _to_report_candidate(found: Proposed) -> ModelCandidate:
    said = (*found.reasons, *found.differences, *((found.label,) if found.label else ()))
    return ModelCandidate(
        source=found.source,
        url=found.url,
        name=found.name,
        sha256=found.sha256,
        reason="; ".join(said) or ("verified" if found.verified else found.proposed_by) or None,
    )


def site_name(source: str) -> str:
    """Return a source as people call it."""
    return SITE_NAMES.get(source, source)
