"""What the search says, in the report: each missing model with its answer and the next step in words. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from comfywatchman.readiness.search.results import SITES, SearchResult, SearchStatus, silent_sources
from comfywatchman.readiness.search.results import Candidate as Proposed
from comfywatchman.readiness.states import SOUGHT, ModelState
from comfywatchman.readiness.status import Candidate, MissingModel, PlanFacts, WorkflowEntry

_ASKED: Final = re.compile(r"(qwen|civitai|huggingface|civarchive): [A-Z_]+\.")
_BACKEND_LINE: Final = re.compile(r"[a-z]+: [A-Z_]+\.|(qwen: no language model|civarchive: no hash) is .*")


def with_answers(
    entries: Sequence[WorkflowEntry],
    results: Iterable[SearchResult],
    *,
    plan: PlanFacts | None = None,
    ask_again_at: str = "",
) -> tuple[WorkflowEntry, ...]:
    """Return the entries with what the search says of each missing model; an UNCERTAIN answer counts as uncertain.

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
    return tuple(_with_answers(entry, answers, blocked, ask_again_at) for entry in entries)


def _with_answers(
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
        result = answers.get(key) if model.status in SOUGHT else None
        models.append(model if result is None else _answered(model, result, blocked.get(key), ask_again_at))
    doubtful = sum(model.answer == "UNCERTAIN" for model in models)
    return msgspec.structs.replace(
        entry, missing_models=tuple(models), uncertain_count=entry.uncertain_count + doubtful
    )


def _answered(model: MissingModel, result: SearchResult, blocked: str | None, ask_again_at: str) -> MissingModel:
    candidates = tuple(_candidate(one) for one in result.candidates) or model.candidates
    fix = _fix(model, result, blocked, ask_again_at)
    return msgspec.structs.replace(model, answer=result.status.value, fix=fix, candidates=candidates)


def _fix(model: MissingModel, result: SearchResult, blocked: str | None, ask_again_at: str) -> str:
    own = model.fix or ""
    if result.status is SearchStatus.FOUND:
        return _found(model, result, blocked)
    if result.status is SearchStatus.UNCERTAIN:
        return _doubt(model, result)
    if result.status is SearchStatus.NOT_FOUND:
        asked = dict.fromkeys(match[1] for line in result.evidence if (match := _ASKED.fullmatch(line)))
        who = f" (asked: {', '.join(map(site, asked))})" if asked else ""
        return f"Not found{who}. {own}".strip()
    if result.status is SearchStatus.ERROR:
        when = f"; it is asked again after {ask_again_at}" if ask_again_at else ""
        silent = " and ".join(map(site, silent_sources(result)))
        trouble = f"The search got no answer of {silent}" if silent else f"The search could not ask: {_reason(result)}"
        return f"{trouble}{when}. {own}".strip()
    return f"{_reason(result)}. {own}".strip()


def _found(model: MissingModel, result: SearchResult, blocked: str | None) -> str:
    where = f"Found on {site(result.source or '')}"
    if blocked is not None:
        return f"{where}, but it cannot be fetched as things stand: {blocked}"
    command = f"comfywatchman download {_word(model.name)}"
    if model.status is ModelState.INVALID:
        return f"{model.fix or ''} {where}; once the broken file is gone: {command}".strip()
    return f"{where}; fetch it: {command}"


def _word(name: str) -> str:
    """Return a name as a shell takes it for one word, and the program for no option."""
    return f"-- {shlex.quote(name)}" if name.startswith("-") else shlex.quote(name)


def _doubt(model: MissingModel, result: SearchResult) -> str:
    own = model.fix or ""
    if any(one.sha256 and one.url for one in result.candidates):
        command = f"comfywatchman resolve --choose {shlex.quote(model.name)} NUMBER"
        return " ".join(("Not certain which file is meant.", own, f"To take one of the candidates: {command}"))
    return f"Not certain: {_reason(result)}. {own}".strip()


def _reason(result: SearchResult) -> str:
    """Return the first thing that speaks against the candidates, or else the first that was said; no full stop."""
    against = [reason for one in result.candidates for reason in one.reasons]
    said = [line for line in result.evidence if not _BACKEND_LINE.fullmatch(line)]
    return (*against, *said, "nobody said why")[0].rstrip(".")


def _candidate(found: Proposed) -> Candidate:
    said = (*found.reasons, *found.differences, *((found.label,) if found.label else ()))
    return Candidate(
        source=found.source,
        url=found.url,
        name=found.name,
        sha256=found.sha256,
        reason="; ".join(said) or ("verified" if found.verified else found.proposed_by) or None,
    )


def site(source: str) -> str:
    """Return a source as people call it."""
    return SITES.get(source, source)
