"""The queue as a table that is drawn again each second: running jobs with their progress first, then the next ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from comfywatchman.cli.jobs.common import format_result
from comfywatchman.cli.jobs.live import format_progress
from comfywatchman.cli.render import create_console, printable
from comfywatchman.jobs.records import Job, JobStatus

if TYPE_CHECKING:
    from rich.table import Table

    from comfywatchman.base.stop import StopEvent
    from comfywatchman.jobs.records import HostRecord, QueueStats
    from comfywatchman.jobs.store.job_store import JobStore

REFRESH_SECONDS: Final = 1.0
_MARGIN_LINES: Final = 5
_STYLES: Final = {JobStatus.PROCESSING: "cyan", JobStatus.DONE: "green", JobStatus.FAILED: "red"}


def show_queue(store: JobStore, stop_event: StopEvent, *, status: JobStatus | None, text: str) -> None:
    """Show the queue on the terminal until stopped.

    Raises:
        Failure: The database cannot be used.
    """
    from rich.live import Live

    console = create_console()
    with Live(console=console, auto_refresh=False, screen=False) as live:
        while True:
            limit = max(1, console.height - _MARGIN_LINES)
            jobs = read_jobs(store, status, text, limit)
            table = build_table(jobs, collect_progress(store.list_hosts()), console.width)
            table.caption = format_totals(store.stats())
            live.update(table, refresh=True)
            if stop_event.wait(REFRESH_SECONDS):
                return


def read_jobs(store: JobStore, status: JobStatus | None, text: str, limit: int) -> tuple[Job, ...]:
    """Return the jobs to show: those that run, the next ones, then the latest that ended."""
    if status is not None:
        return store.list_jobs(status, limit=limit, text=text)
    from comfywatchman.jobs.store.queries import JobOrder

    jobs: list[Job] = []
    for shown in (JobStatus.PROCESSING, JobStatus.PENDING):
        jobs += store.list_jobs(shown, limit=limit, text=text)
    ended = [job for job in store.list_jobs(limit=limit, text=text, order=JobOrder.NEWEST) if job.status.is_terminal]
    return tuple([*jobs, *ended][:limit])


def collect_progress(hosts: Sequence[HostRecord]) -> dict[str, Mapping[str, Any]]:
    """Return the progress that living workers publish, by the name of their job."""
    progress: dict[str, Mapping[str, Any]] = {}
    for host in hosts:
        for worker in host.workers:
            job = worker.progress.get("job")
            if worker.is_alive and isinstance(job, str):
                progress[job] = worker.progress
    return progress


def build_table(jobs: Sequence[Job], progress: Mapping[str, Mapping[str, Any]], width: int) -> Table:
    """Return the table; a long name is cut in the middle of the screen only where nothing else fits."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, width=width, caption_justify="left")
    table.add_column("Job", ratio=3, no_wrap=True, overflow="ellipsis")
    table.add_column("Status", no_wrap=True)
    table.add_column("Priority", no_wrap=True, justify="right")
    table.add_column("Progress or result", ratio=2, no_wrap=True, overflow="ellipsis")
    for job in jobs:
        published = progress.get(job.config_name)
        detail = format_result(job) if published is None else format_progress(dict(published))
        table.add_row(
            Text(printable(job.config_name.removesuffix(".yaml"))),
            Text(job.status.value, style=_STYLES.get(job.status, "")),
            str(job.priority),
            Text(printable(detail)),
        )
    return table


def format_totals(figures: QueueStats) -> str:
    """Return the number of jobs in each status that has any, on one line."""
    counts = [f"{count} {status}" for status, count in figures.by_status.items() if count]
    text = ", ".join(counts) or "no jobs"
    return f"{text}; paused" if figures.is_paused else text
