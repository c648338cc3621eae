"""From what the search found to a plan a person can start, or to downloads that nobody has to start."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.stop import StopNotice
from comfywatchman.readiness.downloads.automatic import download_automatically
from comfywatchman.readiness.downloads.links import files_by_hash
from comfywatchman.readiness.downloads.plan import Plan, PlanItem, make_plan
from comfywatchman.readiness.downloads.plan_files import newest_plan, write_plan
from comfywatchman.readiness.downloads.queue import Outcome
from comfywatchman.readiness.downloads.run import Downloads
from comfywatchman.readiness.host_view import HostView
from comfywatchman.readiness.run import Run
from comfywatchman.readiness.search.result import SearchResult


class _Told:
    """Tells the cycle's progress how far downloads are."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def at(self, item: PlanItem, have: int, total: int | None) -> None:
        share = f" ({100 * have // total} %)" if total else ""
        self._run.request.progress(f"Downloading {item.filename}{share}")

    def ended(self, outcome: Outcome) -> None:
        if outcome.how is None:
            self._run.note(f"{outcome.filename} was not fetched: {outcome.message}")


def plan_downloads(run: Run, host: HostView, results: Sequence[SearchResult]) -> None:
    """Write a plan when it differs from the newest one; with `[downloads] auto`, fetch what is proved by a hash.

    Raises:
        Failure: `state-unwritable`.
    """
    request = run.request
    link = request.settings.downloads.link
    here = {} if link == "off" else files_by_hash(host.all_models(), host.models.hashes())
    with StopNotice() as stop:
        work = Downloads(
            home=request.layout.home,
            settings=request.settings,
            folders=host.folders,
            clock=request.clock,
            stop=stop,
            watcher=_Told(run),
            here=here,
        )
        with run.phase("plan"):
            plan = make_plan(results, work.rules, cycle=run.id, made_at=run.now())
            if (plan.items or plan.to_choose) and not _is_known(run, plan):
                write_plan(request.layout.home, plan)
        if request.settings.downloads.auto:
            with run.phase("downloads"):
                download_automatically(plan, work)


def _is_known(run: Run, plan: Plan) -> bool:
    """Say whether the newest plan says the same; a damaged one says nothing."""
    try:
        newest = newest_plan(run.request.layout.home)
    except Failure as failure:
        run.note(failure)
        return False
    if newest is None:
        return False
    return plan == msgspec.structs.replace(newest, cycle=plan.cycle, made_at=plan.made_at, disks=plan.disks)
