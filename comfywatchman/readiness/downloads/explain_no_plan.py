"""Explains why there is no download plan: nothing was found, or no search was made. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from comfywatchman.base.clock import format_local, parse_utc
from comfywatchman.base.text import pluralize
from comfywatchman.readiness.states import SEARCH_DOUBT_TEXT, SEARCHED_STATES
from comfywatchman.readiness.status import MasterStatus, MissingModel


@dataclass(frozen=True, slots=True)
class PlanAbsence:
    """Why there is no plan.

    Attributes:
        reason: In one sentence.
        is_final: Whether the last search found nothing to plan, so that another cycle would find nothing either.
    """

    reason: str
    is_final: bool


def explain_no_plan(report: MasterStatus | None) -> PlanAbsence:
    """Return why there is no plan in the folder of plans.

    Args:
        report: The last report; None if there is no readable one.
    """
    if report is None or report.checked_at is None:
        return PlanAbsence("No cycle has checked this host yet, so no model was searched for.", is_final=False)
    models_by_key: dict[tuple[str | None, str], MissingModel] = {}
    for entry in report.workflows:
        for model in entry.missing_models:
            if model.status in SEARCHED_STATES:
                models_by_key[model.folder, model.name] = model
    when = f"The check of {format_local(parse_utc(report.checked_at))}"
    if not models_by_key:
        return PlanAbsence(f"{when} found no missing model, so there is nothing to download.", is_final=True)
    models = pluralize(len(models_by_key), "missing model")
    searched = [model for model in models_by_key.values() if model.answer is not None]
    if not searched:
        reason = f"{when} found {models}, but no cycle has searched for them yet ([search] budget_seconds)."
        return PlanAbsence(reason, is_final=False)
    if any(model.answer == "FOUND" for model in searched):
        return PlanAbsence(f"{when} wrote a plan, but the file no longer exists.", is_final=False)
    counts = Counter(_describe_answer(model) for model in searched)
    results = ", ".join(f"{count} {answer}" for answer, count in sorted(counts.items()))
    reason = f"{when} searched for {models} and found nothing to download ({results})."
    if any(model.answer == "ERROR" for model in searched):
        reason += " ERROR: a site did not respond; comfywatchman resolve --all searches again."
    return PlanAbsence(reason, is_final=True)


def _describe_answer(model: MissingModel) -> str:
    """Return the search result of a model that was searched for, with the doubt of an uncertain one."""
    answer = model.answer or ""
    return answer if model.doubt is None else f"{answer} ({SEARCH_DOUBT_TEXT[model.doubt]})"
