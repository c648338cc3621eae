"""From what the search found to a plan a person can start, or to downloads that nobody has to start."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path
from comfywatchman.base.stop import StopEvent
from comfywatchman.readiness.assessment.host_snapshot import HostSnapshot
from comfywatchman.readiness.context import CycleContext
from comfywatchman.readiness.downloads.links import index_by_hash
from comfywatchman.readiness.downloads.plan import DownloadPlan, PlanItem, PlanRules, build_item, build_plan
from comfywatchman.readiness.downloads.plan_files import newest_plan, plans_folder, write_plan
from comfywatchman.readiness.downloads.queue import DownloadOutcome
from comfywatchman.readiness.downloads.run import DownloadContext, download_automatically
from comfywatchman.readiness.search.results import SearchResult
from comfywatchman.readiness.status import BlockedDownload, PlanSummary


def plan_downloads(run: CycleContext, host: HostSnapshot, results: Sequence[SearchResult]) -> PlanSummary | None:
    """Write a plan where it differs from the newest one, and return what it holds; None when there is nothing to plan.

    Raises:
        Failure: `state-unwritable`.
    """
    with run.phase("plan"), _open_downloads(run, host) as work:
        rules = work.rules
        plan = build_plan(results, rules, cycle=run.id, made_at=run.now())
        if not plan.items and not plan.to_choose:
            return None
        name = _find_same_plan(run, plan)
        if name is None:
            name = write_plan(run.request.layout.home, plan).name
        return PlanSummary(
            file=printable_path(plans_folder(run.request.layout.home) / name),
            downloads=sum(item.blocked is None for item in plan.items),
            total_bytes=plan.total_bytes,
            to_choose=len(plan.to_choose),
            blocked=tuple(_list_blocked(results, rules)),
        )


def run_automatic_downloads(
    run: CycleContext, host: HostSnapshot, results: Sequence[SearchResult]
) -> tuple[DownloadOutcome, ...]:
    """Fetch what is proved by a hash and needs no person; what does not come is noted in the cycle.

    Raises:
        Failure: `state-unwritable`.
    """
    with run.phase("downloads"), _open_downloads(run, host) as work:
        return download_automatically(build_plan(results, work.rules, cycle=run.id, made_at=run.now()), work)


class _CycleProgress:
    """Tells the cycle's progress how far downloads are."""

    def __init__(self, run: CycleContext) -> None:
        self._run = run

    def update(self, item: PlanItem, have: int, total: int | None) -> None:
        share = f" ({100 * have // total} %)" if total else ""
        self._run.request.progress(f"Downloading {item.filename}{share}")

    def finish(self, outcome: DownloadOutcome) -> None:
        if outcome.how is None:
            self._run.add_problem(f"{outcome.filename} was not fetched: {outcome.message}")


@contextmanager
def _open_downloads(run: CycleContext, host: HostSnapshot) -> Iterator[DownloadContext]:
    request = run.request
    here = {}
    if request.settings.downloads.link != "off":
        here = index_by_hash(host.inventory.all_models(), host.models.hashes())
    with StopEvent() as stop:
        yield DownloadContext(
            home=request.layout.home,
            settings=request.settings,
            folders=host.folders,
            clock=request.clock,
            stop=stop,
            watcher=_CycleProgress(run),
            here=here,
        )


def _find_same_plan(run: CycleContext, plan: DownloadPlan) -> str | None:
    """Return the file name of the newest plan when it says the same; a damaged one says nothing."""
    try:
        newest = newest_plan(run.request.layout.home)
    except Failure as failure:
        run.add_problem(failure)
        return None
    if newest is None:
        return None
    same = msgspec.structs.replace(newest, cycle=plan.cycle, made_at=plan.made_at, disks=plan.disks)
    return f"{newest.cycle}.json" if plan == same else None


def _list_blocked(results: Sequence[SearchResult], rules: PlanRules) -> Iterator[BlockedDownload]:
    for result in results:
        item = build_item(result, rules)
        if item is not None and item.blocked is not None:
            yield BlockedDownload(result.filename, result.type, item.blocked)
