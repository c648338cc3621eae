"""Downloads that nobody is asked about: what was FOUND with a hash, from allowed hosts, and is no pickle."""

from __future__ import annotations

from comfywatchman.readiness.downloads.plan import Plan, PlanItem, reason_not_automatic
from comfywatchman.readiness.downloads.queue import Outcome
from comfywatchman.readiness.downloads.run import Downloads, download


def split_plan(plan: Plan) -> tuple[tuple[PlanItem, ...], tuple[tuple[PlanItem, str], ...]]:
    """Return what may be fetched at once, and what waits for a person with the reason. Pure."""
    reasons = [(item, reason_not_automatic(item)) for item in plan.items]
    taken = tuple(item for item, reason in reasons if reason is None)
    return taken, tuple((item, reason) for item, reason in reasons if reason is not None)


def download_automatically(plan: Plan, work: Downloads) -> tuple[Outcome, ...]:
    """Fetch what a plan allows to be fetched without a person; for cycles with `--auto-download`.

    Raises:
        Failure: `state-unwritable` when the queue cannot be kept.
    """
    taken, _waiting = split_plan(plan)
    return download(taken, work) if taken else ()
