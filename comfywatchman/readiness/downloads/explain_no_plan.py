"""Explains why there is no download plan: nothing was found, or no search was made. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from comfywatchman.base.text import pluralize
from comfywatchman.readiness.states import SEARCHED_STATES
from comfywatchman.readiness.status import MasterStatus


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
    answers: dict[tuple[str | None, str], str | None] = {}
    for entry in report.workflows:
        for model in entry.missing_models:
            if model.status in SEARCHED_STATES:
                answers[model.folder, model.name] = model.answer
    when = f"The cycle of {report.checked_at}"
    if not answers:
        return PlanAbsence(f"{when} found no missing model, so there is nothing to download.", is_final=True)
    models = pluralize(len(answers), "missing model")
    counts = Counter(answer for answer in answers.values() if answer is not None)
    if not counts:
        reason = f"{when} found {models}, but no cycle has searched for them yet ([search] budget_seconds)."
        return PlanAbsence(reason, is_final=False)
    if counts["FOUND"]:
        return PlanAbsence(f"{when} wrote a plan, but the file no longer exists.", is_final=False)
    results = ", ".join(f"{count} {answer}" for answer, count in sorted(counts.items()))
    reason = f"{when} searched for {models} and found nothing to download ({results})."
    if counts["ERROR"]:
        reason += " ERROR: a site did not respond; `comfywatchman resolve --all` searches again."
    return PlanAbsence(reason, is_final=True)
