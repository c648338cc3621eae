"""The download step of a cycle: writes a plan of the found models, and downloads them if that is configured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec

from comfywatchman.base.errors import Failure
from comfywatchman.base.files import printable_path
from comfywatchman.base.stop import StopEvent
from comfywatchman.readiness.assessment.host_snapshot import HostSnapshot
from comfywatchman.readiness.context import CycleContext
from comfywatchman.readiness.downloads.item_downloader import DownloadContext
from comfywatchman.readiness.downloads.links import index_by_hash
from comfywatchman.readiness.downloads.plan import DownloadPlan, PlanItem, PlanRules, build_item, build_plan
from comfywatchman.readiness.downloads.plan_files import plans_folder, read_newest_plan, write_plan
from comfywatchman.readiness.downloads.queue import DownloadOutcome
from comfywatchman.readiness.downloads.run import download_automatically
from comfywatchman.readiness.plan_summary import BlockedDownload, PlanSummary
from comfywatchman.readiness.search.results import SearchResult


def plan_downloads(cycle: CycleContext, host: HostSnapshot, results: Sequence[SearchResult]) -> PlanSummary | None:
    """Write a plan if it differs from the newest one, and return its summary; None if there is nothing to plan.

    Raises:
        Failure: `state-unwritable`.
    """
    with cycle.phase("plan"), _open_downloads(cycle, host) as context:
        rules = context.rules
        plan = build_plan(results, rules, cycle=cycle.id, made_at=cycle.now(), comfyui=cycle.comfyui)
        if not plan.items and not plan.to_choose:
            return None
        home = cycle.request.layout.home
        name = _find_same_plan(cycle, plan)
        if name is None:
            name = write_plan(home, plan, complete_commands=cycle.request.complete_commands).name
        return PlanSummary(
            file=printable_path(plans_folder(home) / name),
            downloads=sum(item.blocked is None for item in plan.items),
            total_bytes=plan.total_bytes,
            to_choose=len(plan.to_choose),
            blocked=tuple(_list_blocked(results, rules)),
        )


def run_automatic_downloads(
    cycle: CycleContext, host: HostSnapshot, results: Sequence[SearchResult]
) -> tuple[DownloadOutcome, ...]:
    """Download the models that need no decision of a person. Failed downloads become problems of the cycle.

    Raises:
        Failure: `state-unwritable`.
    """
    with cycle.phase("downloads"), _open_downloads(cycle, host) as context:
        plan = build_plan(results, context.rules, cycle=cycle.id, made_at=cycle.now(), comfyui=cycle.comfyui)
        try:
            return download_automatically(plan, context)
        except Failure as failure:
            if failure.code != "state-newer":
                raise
            cycle.add_problem(failure)
            return ()


class _CycleProgress:
    """Reports downloads as progress and problems of a cycle."""

    def __init__(self, cycle: CycleContext) -> None:
        self._cycle = cycle

    def update(self, item: PlanItem, done: int, total: int | None) -> None:
        share = f" ({100 * done // total} %)" if total else ""
        self._cycle.request.progress(f"Downloading {item.filename}{share}")

    def finish(self, outcome: DownloadOutcome) -> None:
        if outcome.how is None:
            self._cycle.add_problem(f"{outcome.filename} was not downloaded: {outcome.message}")


@contextmanager
def _open_downloads(cycle: CycleContext, host: HostSnapshot) -> Iterator[DownloadContext]:
    request = cycle.request
    with StopEvent() as stop:
        yield DownloadContext(
            home=request.layout.home,
            comfyui=cycle.comfyui.id,
            settings=request.settings,
            folders=host.folders,
            clock=request.clock,
            stop=stop,
            watcher=_CycleProgress(cycle),
            local_models=index_by_hash(host.inventory.all_models(), host.models.hashes()),
        )


def _find_same_plan(cycle: CycleContext, plan: DownloadPlan) -> str | None:
    """Return the file name of the newest plan if it is the same; a damaged plan becomes a problem of the cycle."""
    try:
        newest = read_newest_plan(cycle.request.layout.home, cycle.comfyui)
    except Failure as failure:
        cycle.add_problem(failure)
        return None
    if newest is None:
        return None
    # Free space changes all the time and is no reason for another plan.
    comparable = msgspec.structs.replace(
        newest, cycle=plan.cycle, made_at=plan.made_at, disks=plan.disks, comfyui=plan.comfyui
    )
    return f"{newest.cycle}.json" if plan == comparable else None


def _list_blocked(results: Sequence[SearchResult], rules: PlanRules) -> Iterator[BlockedDownload]:
    for result in results:
        item = build_item(result, rules)
        if item is not None and item.blocked is not None:
            yield BlockedDownload(result.filename, result.type, item.blocked)
