"""From what the search found to a plan a person can start, or to downloads that nobody has to start."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import show_path
from comfywatchman.base.stop import StopNotice
from comfywatchman.readiness.assessment.host_snapshot import HostView
from comfywatchman.readiness.context import Run
from comfywatchman.readiness.downloads.links import files_by_hash
from comfywatchman.readiness.downloads.plan import Plan, PlanItem, PlanRules, item_of, make_plan
from comfywatchman.readiness.downloads.plan_files import newest_plan, plans_folder, write_plan
from comfywatchman.readiness.downloads.queue import Outcome
from comfywatchman.readiness.downloads.run import Downloads, download_automatically
from comfywatchman.readiness.search.results import SearchResult
from comfywatchman.readiness.status import Blocked, PlanFacts


def plan_downloads(run: Run, host: HostView, results: Sequence[SearchResult]) -> PlanFacts | None:
    """Write a plan where it differs from the newest one, and return what it holds; None when there is nothing to plan.

    Raises:
        Failure: `state-unwritable`.
    """
    with run.phase("plan"), _downloads(run, host) as work:
        rules = work.rules
        plan = make_plan(results, rules, cycle=run.id, made_at=run.now())
        if not plan.items and not plan.to_choose:
            return None
        name = _name_of_the_same(run, plan)
        if name is None:
            name = write_plan(run.request.layout.home, plan).name
        return PlanFacts(
            file=show_path(plans_folder(run.request.layout.home) / name),
            downloads=sum(item.blocked is None for item in plan.items),
            total_bytes=plan.total_bytes,
            to_choose=len(plan.to_choose),
            blocked=tuple(_blocked(results, rules)),
        )


def fetch_at_once(run: Run, host: HostView, results: Sequence[SearchResult]) -> tuple[Outcome, ...]:
    """Fetch what is proved by a hash and needs no person; what does not come is noted in the cycle.

    Raises:
        Failure: `state-unwritable`.
    """
    with run.phase("downloads"), _downloads(run, host) as work:
        return download_automatically(make_plan(results, work.rules, cycle=run.id, made_at=run.now()), work)


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


@contextmanager
def _downloads(run: Run, host: HostView) -> Iterator[Downloads]:
    request = run.request
    here = {}
    if request.settings.downloads.link != "off":
        here = files_by_hash(host.inventory.all_models(), host.models.hashes())
    with StopNotice() as stop:
        yield Downloads(
            home=request.layout.home,
            settings=request.settings,
            folders=host.folders,
            clock=request.clock,
            stop=stop,
            watcher=_Told(run),
            here=here,
        )


def _name_of_the_same(run: Run, plan: Plan) -> str | None:
    """Return the file name of the newest plan when it says the same; a damaged one says nothing."""
    try:
        newest = newest_plan(run.request.layout.home)
    except Failure as failure:
        run.note(failure)
        return None
    if newest is None:
        return None
    same = msgspec.structs.replace(newest, cycle=plan.cycle, made_at=plan.made_at, disks=plan.disks)
    return f"{newest.cycle}.json" if plan == same else None


def _blocked(results: Sequence[SearchResult], rules: PlanRules) -> Iterator[Blocked]:
    for result in results:
        item = item_of(result, rules)
        if item is not None and item.blocked is not None:
            yield Blocked(result.filename, result.type, item.blocked)
