"""Runs downloads of a plan or the queue: several files at once, each outcome recorded as it comes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import Final

from comfywatchman.base.stream import ConnectionPool
from comfywatchman.readiness.downloads.item_downloader import DownloadContext, ItemDownloader
from comfywatchman.readiness.downloads.plan import DownloadPlan, PlanItem, reason_not_automatic
from comfywatchman.readiness.downloads.queue import DownloadOutcome, add_items, queue_file, read_queue, record_outcomes
from comfywatchman.readiness.downloads.rules import build_allowlist
from comfywatchman.sources.download.retry import RetryPolicy

_POLL_SECONDS: Final = 0.2


def run_downloads(items: Sequence[PlanItem], context: DownloadContext) -> tuple[DownloadOutcome, ...]:
    """Add items to the queue and download them. Each outcome is in the queue before the next download starts.

    Args:
        items: The items; each is checked against the present rules again.
        context: Settings and host.

    Returns:
        One outcome for each item, in input order. An item that was stopped before it started has the code
        `download-stopped` and stays in the queue, like all others that can be resumed.

    Raises:
        Failure: `state-unwritable` if the queue cannot be written.
    """
    distinct = {item.id: item for item in items}
    queue_path = queue_file(context.home)
    add_items(queue_path, distinct.values(), context.comfyui, clock=context.clock)
    outcomes: dict[str, DownloadOutcome] = {}
    section = context.settings.downloads
    retry_policy = context.retry_policy or RetryPolicy(
        stall_seconds=section.stall_seconds, connections=section.connections
    )
    local_hosts = build_allowlist(context.settings).local_hosts
    pool = ConnectionPool(stall_seconds=retry_policy.stall_seconds, may_be_private=local_hosts.__contains__)
    with (
        pool as connections,
        ThreadPoolExecutor(section.parallel, thread_name_prefix="download") as threads,
    ):
        downloader = ItemDownloader(context, retry_policy, connections)
        waiting = _group_by_content(distinct.values())
        running = {threads.submit(downloader.download, same_bytes.popleft()) for same_bytes in waiting.values()}
        try:
            while running:
                # Woken up regularly, because a stop must reach threads that wait for a server.
                finished, running = wait(running, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
                new_outcomes = [future.result() for future in finished]
                if new_outcomes:
                    record_outcomes(queue_path, new_outcomes, context.comfyui, clock=context.clock)
                for outcome in new_outcomes:
                    outcomes[outcome.id] = outcome
                    context.watcher.finish(outcome)
                    same_bytes = waiting[_content_key(distinct[outcome.id])]
                    if same_bytes:
                        # Its bytes are here now and are linked; if they are not, this item fetches them.
                        running.add(threads.submit(downloader.download, same_bytes.popleft()))
                if context.stop.is_set():
                    connections.abort()
        except BaseException:
            context.stop.set()
            connections.abort()
            raise
    return tuple(outcomes[item_id] for item_id in distinct)


def _group_by_content(items: Iterable[PlanItem]) -> dict[str, deque[PlanItem]]:
    """Return the items by content: those with the same hash are fetched one after another, so that one is enough."""
    groups: dict[str, deque[PlanItem]] = {}
    for item in items:
        groups.setdefault(_content_key(item), deque()).append(item)
    return groups


def _content_key(item: PlanItem) -> str:
    return item.sha256 or item.id


def split_plan(plan: DownloadPlan) -> tuple[tuple[PlanItem, ...], tuple[tuple[PlanItem, str], ...]]:
    """Return the items that may be downloaded automatically, and those that wait for a person with the reason. Pure."""
    automatic = []
    waiting = []
    for item in plan.items:
        reason = reason_not_automatic(item)
        if reason is None:
            automatic.append(item)
        else:
            waiting.append((item, reason))
    return tuple(automatic), tuple(waiting)


def download_automatically(plan: DownloadPlan, context: DownloadContext) -> tuple[DownloadOutcome, ...]:
    """Download the items of a plan that need no decision of a person; for cycles with `--auto-download`.

    A download that failed for good is not repeated by every cycle: the same bytes would be refused again.

    Raises:
        Failure: `state-unwritable` if the queue cannot be written.
    """
    automatic, _waiting = split_plan(plan)
    queue, _corrupt = read_queue(queue_file(context.home))
    now = context.clock.now()
    automatic = tuple(item for item in automatic if not queue.is_waiting_for_person(item.id, context.comfyui, now))
    if not automatic:
        return ()
    return run_downloads(automatic, context)
