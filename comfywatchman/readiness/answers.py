"""Where a cycle's missing models can be had: asked when something is missing, kept for the report, planned."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from comfywatchman.base.files import Damaged
from comfywatchman.readiness.assessment import Assessment
from comfywatchman.readiness.database import Database
from comfywatchman.readiness.host_view import HostView
from comfywatchman.readiness.run import Run
from comfywatchman.readiness.search.result import Candidate as Proposed
from comfywatchman.readiness.search.result import SearchResult, SearchStatus
from comfywatchman.readiness.status import Candidate, MissingModel, WorkflowEntry
from comfywatchman.readiness.verdict import ModelState

HOUR_SECONDS: Final = 3600.0
_NOTE: Final = "answers of the search"
_SOUGHT: Final = frozenset({ModelState.MISSING, ModelState.INVALID})
_UNTIL: Final = {
    SearchStatus.ERROR: HOUR_SECONDS,
    SearchStatus.UNCERTAIN: 24 * HOUR_SECONDS,
    SearchStatus.INVALID_FILENAME: 24 * HOUR_SECONDS,
}
_UNTIL_OTHERS: Final = 7 * 24 * HOUR_SECONDS


class Kept(msgspec.Struct, frozen=True):
    """The answers of the last search.

    Attributes:
        digest: What was missing then, and whom the configuration let ask.
        ask_again_at: When the first of them counts no longer, as a POSIX time.
        results: The answers.
    """

    digest: str = ""
    ask_again_at: float = 0.0
    results: tuple[SearchResult, ...] = ()


@dataclass(frozen=True, slots=True)
class Answers:
    """What is known of the missing models.

    Attributes:
        results: One for each that was asked about.
        are_new: Whether they were asked for in this cycle.
    """

    results: tuple[SearchResult, ...] = ()
    are_new: bool = False


def kept_answers(host: HostView) -> Kept:
    """Return the answers of the last search; empty ones before the first, or when what was kept is damaged."""
    text = host.models.note(_NOTE)
    try:
        return msgspec.json.decode(text, type=Kept) if text else Kept()
    except msgspec.MsgspecError:
        return Kept()


def ask(run: Run, host: HostView, assessment: Assessment, database: Database) -> Answers:
    """Ask where missing models can be had, unless the last answers still count; nobody's trouble raises."""
    missing = _sought(assessment.entries)
    section, now = run.request.settings.search, run.request.clock.now().timestamp()
    digest = _digest(missing, run)
    kept = kept_answers(host)
    if not missing or section.budget_seconds <= 0 or (kept.digest == digest and now < kept.ask_again_at):
        return Answers(kept.results)
    with run.phase("search"):
        results, problems = _resolve(run, host, assessment, database)
    for problem in problems:
        run.note(problem)
    fresh = Kept(digest, now + _lifetime_seconds(results), results)
    host.models.set_note(_NOTE, msgspec.json.encode(fresh).decode())
    return Answers(results, are_new=True)


def with_answers(entries: Sequence[WorkflowEntry], results: Iterable[SearchResult]) -> tuple[WorkflowEntry, ...]:
    """Return the entries with what the search says of each missing model; an UNCERTAIN answer counts as uncertain."""
    answers = {(result.type, result.filename): result for result in results}
    return tuple(_with_answers(entry, answers) for entry in entries) if answers else tuple(entries)


def _with_answers(entry: WorkflowEntry, answers: Mapping[tuple[str | None, str], SearchResult]) -> WorkflowEntry:
    if not entry.missing_models:
        return entry
    models = tuple(_answered(model, answers.get((model.folder, model.name))) for model in entry.missing_models)
    doubtful = sum(
        new.answer == "UNCERTAIN" and old.answer is None for new, old in zip(models, entry.missing_models, strict=True)
    )
    return msgspec.structs.replace(entry, missing_models=models, uncertain_count=entry.uncertain_count + doubtful)


def _answered(model: MissingModel, result: SearchResult | None) -> MissingModel:
    if result is None or model.status not in _SOUGHT:
        return model
    fix = model.fix
    if result.status is SearchStatus.FOUND:
        fix = f"Fetch it from {result.source}: comfywatchman download {_word(model.name)}"
    elif result.status is SearchStatus.UNCERTAIN and result.candidates:
        fix = (
            f"{model.fix or ''} To take a candidate: comfywatchman resolve --choose {_word(model.name)} NUMBER".strip()
        )
    candidates = tuple(_candidate(one) for one in result.candidates) or model.candidates
    return msgspec.structs.replace(model, answer=result.status.value, fix=fix, candidates=candidates)


def _candidate(found: Proposed) -> Candidate:
    said = (*found.reasons, *found.differences, *((found.label,) if found.label else ()))
    return Candidate(
        source=found.source,
        url=found.url,
        name=found.name,
        sha256=found.sha256,
        reason="; ".join(said) or ("verified" if found.verified else found.proposed_by) or None,
    )


def _resolve(
    run: Run, host: HostView, assessment: Assessment, database: Database
) -> tuple[tuple[SearchResult, ...], tuple[str | Damaged, ...]]:
    from comfywatchman.readiness.downloads.links import files_by_hash
    from comfywatchman.readiness.search.budget import Budget
    from comfywatchman.readiness.search.resolving import SearchRequest, resolve_missing

    request, section = run.request, run.request.settings.search
    lacking = [
        (facts, model)
        for entry in assessment.entries
        for model in entry.missing_models
        if model.status in _SOUGHT and (facts := assessment.facts(entry)) is not None
    ]
    resolved = resolve_missing(
        lacking,
        SearchRequest(
            settings=request.settings,
            layout=request.layout,
            root=request.installation.root,
            custom_nodes=host.folders.custom_nodes,
            clock=request.clock,
            database=database,
            budget=Budget(request.clock, seconds=section.budget_seconds, requests=section.budget_requests),
            here=lambda: {key: one.path for key, one in files_by_hash(host.all_models(), host.models.hashes()).items()},
            progress=lambda done, of: request.progress(f"Searching for missing models: {done} of {of}"),
        ),
    )
    return resolved.results, resolved.problems


def _sought(entries: Iterable[WorkflowEntry]) -> list[MissingModel]:
    return [model for entry in entries for model in entry.missing_models if model.status in _SOUGHT]


def _digest(missing: Sequence[MissingModel], run: Run) -> str:
    settings = run.request.settings
    wanted = sorted({(model.folder or "", model.name, repr(model.candidates)) for model in missing})
    asked = msgspec.json.encode([settings.search, settings.llm, bool(settings.secrets.civitai_api_key)])
    return hashlib.blake2b(msgspec.json.encode(wanted) + asked, digest_size=16).hexdigest()


def _lifetime_seconds(results: Iterable[SearchResult]) -> float:
    """Return after how long the first of these answers must be asked for again; 0 when not all could be asked."""
    from comfywatchman.readiness.search.chain import is_not_asked

    lifetimes = [0.0 if is_not_asked(one) else _UNTIL.get(one.status, _UNTIL_OTHERS) for one in results]
    return min(lifetimes, default=_UNTIL_OTHERS)


def _word(name: str) -> str:
    return shlex.quote(name)
