"""Adds search results to the missing models of the report, each with its next step. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from comfywatchman.readiness.plan_summary import PlanSummary
from comfywatchman.readiness.search.results import (
    SITE_NAMES,
    HubIds,
    SearchCandidate,
    SearchResult,
    SearchStatus,
    describe_absence,
    describe_unreachable,
)
from comfywatchman.readiness.states import SEARCHED_STATES, ModelState, SearchDoubt
from comfywatchman.readiness.status import MissingModel, ModelCandidate, WorkflowEntry

_ModelKey = tuple[str | None, str]
"""Folder and name, as the workflow writes them."""


def merge_search_results(
    entries: Sequence[WorkflowEntry],
    results: Iterable[SearchResult],
    *,
    plan: PlanSummary | None = None,
    ask_again_at: str = "",
) -> tuple[WorkflowEntry, ...]:
    """Return the entries with the search result of each missing model; their verdicts stay as they are.

    Args:
        entries: The workflows.
        results: The search results; one for a model that is no longer missing is ignored.
        plan: The download plan made from the results.
        ask_again_at: When failed searches are repeated, UTC; empty when that is not known.
    """
    results_by_model = {(result.type, result.filename): result for result in results}
    reasons_by_model: dict[_ModelKey, str] = {}
    if plan is not None:
        reasons_by_model = {(blocked.folder, blocked.name): blocked.reason for blocked in plan.blocked}
    merged = []
    for entry in entries:
        models = tuple(
            _merge_model(model, results_by_model, reasons_by_model, ask_again_at) for model in entry.missing_models
        )
        merged.append(msgspec.structs.replace(entry, missing_models=models))
    return tuple(merged)


def _merge_model(
    model: MissingModel,
    results: Mapping[_ModelKey, SearchResult],
    blocked_reasons: Mapping[_ModelKey, str],
    ask_again_at: str,
) -> MissingModel:
    key = (model.folder, model.name)
    result = results.get(key)
    if result is None or model.status not in SEARCHED_STATES:
        return model
    candidates = tuple(build_report_candidate(candidate) for candidate in result.candidates)
    return msgspec.structs.replace(
        model,
        answer=result.status.value,
        doubt=result.doubt,
        fix=_describe_next_step(model, result, blocked_reasons.get(key), ask_again_at),
        candidates=candidates or model.candidates,
        size_bytes=_find_size(result),
        unreachable=result.unreachable if result.status is SearchStatus.ERROR else (),
        retry_at=(ask_again_at or None) if result.status is SearchStatus.ERROR else None,
    )


def _find_size(result: SearchResult) -> int | None:
    """Return the size of a file that was found; None unless exactly one was."""
    if result.status is not SearchStatus.FOUND:
        return None
    # Civitai rounds its sizes, so only the candidate has one.
    return result.size or next((candidate.size for candidate in result.candidates if candidate.size), None)


def _describe_next_step(
    model: MissingModel, result: SearchResult, blocked_reason: str | None, ask_again_at: str
) -> str:
    local_fix = model.fix or ""
    match result.status:
        case SearchStatus.FOUND:
            return _describe_found(model, result, blocked_reason)
        case SearchStatus.UNCERTAIN:
            return _describe_uncertain(model, result, ask_again_at)
        case SearchStatus.NOT_FOUND:
            text = _describe_not_found(result)
        case SearchStatus.ERROR:
            text = _describe_error(result, ask_again_at)
        case _:
            text = f"{_describe_reason(result)}."
    return f"{text} {local_fix}".strip()


def _describe_found(model: MissingModel, result: SearchResult, blocked_reason: str | None) -> str:
    found = f"Found on {site_name(result.source or '')}"
    if blocked_reason is not None:
        return f"{found}, but it cannot be fetched as things stand: {blocked_reason}"
    command = f"comfywatchman download {_quote_argument(model.name)}"
    if model.status is ModelState.INVALID:
        # A download never replaces a file, however broken.
        return f"{model.fix or ''} {found}; once the broken file is gone: {command}".strip()
    return f"{found}; fetch it: {command}"


def _describe_uncertain(model: MissingModel, result: SearchResult, ask_again_at: str) -> str:
    local_fix = model.fix or ""
    if result.has_choice:
        command = f"comfywatchman resolve --choose {shlex.quote(model.name)} NUMBER"
        return f"Not certain which file is meant. {local_fix} To take one of the candidates: {command}"
    match result.doubt:
        case SearchDoubt.NO_MATCH:
            text = f"Not found under these words{_list_sites(result)}, which does not prove that it is nowhere."
        case SearchDoubt.NOT_ASKED:
            text = "Not searched: the name gives no words to search for. Declare its URL or hash in the workflow."
        case SearchDoubt.UNREADABLE_ANSWER:
            text = f"Not certain: {_describe_reason(result)}"
            text += f"; the search is repeated after {ask_again_at}." if ask_again_at else "."
        case _:
            text = f"Not certain: {_describe_reason(result)}."
    return f"{text} {local_fix}".strip()


def _describe_not_found(result: SearchResult) -> str:
    proofs = " ".join(describe_absence(proof) for proof in result.absence)
    return f"Not found{_list_sites(result)}. {proofs}"


def _list_sites(result: SearchResult) -> str:
    sites = ", ".join(site_name(entry.backend) for entry in result.backends)
    return f" (searched: {sites})" if sites else ""


def _describe_error(result: SearchResult, ask_again_at: str) -> str:
    sites = " and ".join(site_name(source) for source in result.unreachable)
    text = f"The search failed: {_describe_reason(result)}"
    if result.is_unreadable:
        text = f"The search could not read an answer: {_describe_reason(result)}"
    if sites:
        text = f"The search got no response from {sites}"
    if ask_again_at:
        text += f"; the search is repeated after {ask_again_at}"
    return f"{text}."


def _describe_reason(result: SearchResult) -> str:
    """Return the first objection to a candidate, else the first evidence, without its full stop."""
    reasons = [reason for candidate in result.candidates for reason in candidate.reasons]
    reasons += result.evidence
    reasons += [describe_unreachable(source) for source in result.unreachable]
    return reasons[0].rstrip(".") if reasons else "no reason was given"


def _quote_argument(name: str) -> str:
    """Return a file name as one argument of a shell command."""
    quoted = shlex.quote(name)
    # A name that begins with a hyphen would be read as an option.
    return f"-- {quoted}" if name.startswith("-") else quoted


def build_report_candidate(candidate: SearchCandidate) -> ModelCandidate:
    """Return a candidate of a search as the report lists it."""
    notes = [*describe_details(candidate), *candidate.reasons, *candidate.differences]
    if candidate.label:
        notes.append(candidate.label)
    if not (candidate.reasons or candidate.differences or candidate.label):
        notes.append("verified" if candidate.verified else candidate.proposed_by)
    return ModelCandidate(
        source=candidate.source,
        url=candidate.url,
        name=candidate.name,
        sha256=candidate.sha256,
        reason="; ".join(notes) or None,
        base_model=candidate.base_model,
        version=_get_version(candidate.ids),
    )


def describe_details(candidate: SearchCandidate) -> tuple[str, ...]:
    """Return what tells a candidate apart from others of its name, each in a few words."""
    details = candidate.details
    parts = (
        "suggested" if candidate.suggested else None,
        f"already here: {candidate.local_path}" if candidate.local_path is not None else None,
        f"version {details.version}" if details.version else None,
        details.precision,
        details.pruning,
        "main file" if details.is_primary else None,
    )
    return tuple(part for part in parts if part)


def _get_version(ids: HubIds) -> str | None:
    """Return what tells two files of one name apart: the version on Civitai, the revision on Hugging Face."""
    return ids.revision if ids.civitai_version is None else str(ids.civitai_version)


def site_name(source: str) -> str:
    """Return the display name of a source; one without a display name is returned unchanged."""
    return SITE_NAMES.get(source, source)
