"""Why there is no plan of downloads: nothing was found, or nobody has looked yet. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from comfywatchman.readiness.states import SEARCHED_STATES
from comfywatchman.readiness.status import MasterStatus


@dataclass(frozen=True, slots=True)
class MissingPlan:
    """Why there is no plan.

    Attributes:
        reason: In one sentence.
        is_answer: Whether a search was made and had nothing to plan; no other cycle is needed to know it.
    """

    reason: str
    is_answer: bool


def explain_no_plan(report: MasterStatus | None) -> MissingPlan:
    """Say why no plan lies in the plans' folder.

    Args:
        report: The last report; None when there is none that can be read.
    """
    if report is None or report.checked_at is None:
        return MissingPlan("No cycle has judged this host yet, so no model was searched for.", is_answer=False)
    lacked = {
        (model.folder, model.name): model.answer
        for entry in report.workflows
        for model in entry.missing_models
        if model.status in SEARCHED_STATES
    }
    when = f"The cycle of {report.checked_at}"
    if not lacked:
        return MissingPlan(f"{when} found no model to be missing, so there is nothing to download.", is_answer=True)
    models = f"{len(lacked)} missing model{'s' if len(lacked) != 1 else ''}"
    answers = Counter(answer for answer in lacked.values() if answer is not None)
    if not answers:
        reason = f"{when} found {models}, but no cycle has searched for them yet ([search] budget_seconds)."
        return MissingPlan(reason, is_answer=False)
    if "FOUND" in answers:
        return MissingPlan(f"{when} wrote a plan, but it is no longer there.", is_answer=False)
    told = ", ".join(f"{count} {answer}" for answer, count in sorted(answers.items()))
    again = " ERROR: a site did not answer; `comfywatchman resolve --all` asks again." if "ERROR" in answers else ""
    return MissingPlan(f"{when} searched for {models} and found nothing to download ({told}).{again}", is_answer=True)
