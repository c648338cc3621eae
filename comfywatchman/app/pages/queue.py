"""The queue page and the page of one job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from comfywatchman.app.job_facts import warn_long_queue
from comfywatchman.app.pages.chart import ChartUnit, LineChart, build_chart
from comfywatchman.app.pages.outputs import OutputView, find_running_preview, list_outputs
from comfywatchman.app.pages.page_request import PageRequest
from comfywatchman.base.clock import format_utc
from comfywatchman.jobs.records import AttemptRecord, AuditRecord, Job, JobStatus, WaitingJob, WaitReason, WorkerRecord
from comfywatchman.jobs.store.bulk import FailureGroup, JobFilter
from comfywatchman.jobs.store.changes import FAILED_STATUSES
from comfywatchman.jobs.store.queue_times import count_open_jobs
from comfywatchman.jobs.store.waiting import Fleet, explain_jobs

PAGE_LENGTH: Final = 50
JOBS_PER_CAUSE: Final = 10
MAX_CAUSES: Final = 20
_MAX_DIGITS: Final = 15
_CHART_HOURS: Final = 24
_CHART_POINTS: Final = 97
_MIN_CHART_SECONDS: Final = 300.0


class QueueTab(StrEnum):
    """The parts of the queue page, as the URL names them."""

    NOW = "now"
    RUNNING = "running"
    WAITING = "waiting"
    FAILED = "failed"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class RunningJob:
    """A job that runs.

    Attributes:
        job: The job.
        worker: Its worker; None when that is not known.
        runs_for_seconds: How long it runs.
        node: The node that ComfyUI works on; empty when that is not known.
        step: The step of that node.
        steps: How many there are; 0 when that is not known.
        prompts_ahead: Prompts of others before it in ComfyUI.
        preview: The number of its newest preview image, which changes with each; 0 for none on this host.
    """

    job: Job
    worker: WorkerRecord | None
    runs_for_seconds: float | None
    node: str
    step: int
    steps: int
    prompts_ahead: int
    preview: int = 0


@dataclass(frozen=True, slots=True)
class CauseView:
    """Failed jobs of one cause, with the newest of them."""

    group: FailureGroup
    jobs: tuple[Job, ...]

    @property
    def title(self) -> str:
        """The first line of the newest error, else its code."""
        lines = (self.group.newest.error_trace or "").strip().splitlines()
        return lines[0] if lines else self.group.error_code or "No error was recorded"


@dataclass(frozen=True, slots=True)
class QueueView:
    """The queue page.

    Attributes:
        tab: The part that is shown.
        counts: Number of jobs by status.
        running: The jobs that run.
        waiting: The first waiting jobs with the reason why each waits.
        matching: How many waiting jobs match the filter.
        failures: Failed jobs by cause.
        done: The newest jobs that are done.
        text: The filter.
        is_paused: Whether a person paused the queue.
        warning: The warning about a long queue; empty for none.
        newest: The id of the newest job that the page shows.
        newer: How many jobs came since.
        last_id: The last job of the page, for the next one; 0 without a next one.
        lengths: How many jobs waited or ran over the last day; None when that is too short a time, on other tabs, and
            when only a part of the page is asked for.
    """

    tab: QueueTab
    counts: Mapping[str, int]
    running: tuple[RunningJob, ...]
    waiting: tuple[WaitingJob, ...]
    matching: int
    failures: tuple[CauseView, ...]
    done: tuple[Job, ...]
    text: str
    is_paused: bool
    warning: str
    newest: int
    newer: int
    last_id: int
    lengths: LineChart | None = None


@dataclass(frozen=True, slots=True)
class JobView:
    """The page of one job."""

    job: Job
    outputs: tuple[OutputView, ...]
    attempts: tuple[AttemptRecord, ...]
    changes: tuple[AuditRecord, ...]
    reason: WaitReason | None
    running: RunningJob | None

    @property
    def can_retry(self) -> bool:
        """Whether a person can queue it again."""
        return self.job.status in FAILED_STATUSES


def view_queue(request: PageRequest) -> QueueView:
    """Return the queue page. `status`, `text`, `after` and `seen` of the URL choose what it shows.

    Raises:
        Failure: A `jobs-…` code of the database.
    """
    store = request.host.store
    tab = read_tab(request.query.get("status", ""))
    text = request.query.get("text", "")[:200]
    after = read_number(request.query.get("after", "")) or None
    figures = request.host.read_stats()
    hosts = store.list_hosts()
    newest = store.find_newest_id()
    seen = read_number(request.query.get("seen", "")) or newest
    is_now = tab is QueueTab.NOW
    pending, running, done, failures = (), (), (), ()  # type: tuple[Job, ...], tuple[Job, ...], tuple[Job, ...], Any
    if is_now or tab is QueueTab.WAITING:
        pending = store.list_jobs(JobStatus.PENDING, limit=PAGE_LENGTH, after=after, text=text)
    if is_now or tab is QueueTab.RUNNING:
        running = store.list_jobs(JobStatus.PROCESSING, limit=PAGE_LENGTH, text=text)
    if is_now or tab is QueueTab.FAILED:
        failures = list_failures(request, text)
    if tab is QueueTab.DONE:
        done = store.list_jobs(JobStatus.DONE, limit=PAGE_LENGTH, after=after, text=text)
    shown = pending or done
    workers = {worker.job_id: worker for host in hosts for worker in host.workers if worker.job_id is not None}
    matching = figures.by_status["pending"]
    if text and pending:
        matching = store.count_jobs(JobFilter((JobStatus.PENDING,), text))
    return QueueView(
        tab=tab,
        counts={**figures.by_status, "failed": figures.by_status["failed"] + figures.by_status["quarantined"]},
        running=tuple(
            _add_preview(request, describe_running(job, workers.get(job.id), request.now)) for job in running
        ),
        waiting=explain_jobs(pending, Fleet(is_paused=figures.is_paused, hosts=hosts)),
        matching=matching,
        failures=failures,
        done=done,
        text=text,
        is_paused=figures.is_paused,
        warning=warn_long_queue(figures.by_status["pending"], request.host.agent.settings.pending_warning),
        newest=seen,
        newer=store.count_newer(seen) if newest > seen else 0,
        last_id=shown[-1].id if len(shown) == PAGE_LENGTH else 0,
        lengths=build_length_chart(request) if is_now and not text and request.fragment is None else None,
    )


def build_length_chart(request: PageRequest) -> LineChart | None:
    """Return how many jobs waited or ran over the last day; None where less than a few minutes are known."""
    times = request.host.store.read_queue_times(request.now - timedelta(hours=_CHART_HOURS))
    now = request.now.timestamp()
    if (not times.created and not times.ended) or now - times.since < _MIN_CHART_SECONDS:
        return None
    counts = request.host.read_stats().by_status
    open_now = counts[JobStatus.PENDING.value] + counts[JobStatus.PROCESSING.value]
    lengths = count_open_jobs(times, open_now=open_now, now=now, points=_CHART_POINTS)
    samples = [(format_utc(datetime.fromtimestamp(at, UTC)), length) for at, length in lengths]
    return build_chart(samples, ChartUnit.JOBS)


def list_failures(request: PageRequest, text: str) -> tuple[CauseView, ...]:
    """Return failed jobs by cause, the most frequent first, each with its newest jobs."""
    store = request.host.store
    failures = []
    for group in store.group_failures(limit=MAX_CAUSES, text=text):
        chosen = JobFilter(FAILED_STATUSES, text, group.error_code, group.head)
        failures.append(CauseView(group, store.list_matching(chosen, limit=JOBS_PER_CAUSE)))
    return tuple(failures)


def view_job(request: PageRequest) -> JobView:
    """Return the page of one job.

    Raises:
        Failure: `jobs-job-unknown`, or another `jobs-…` code of the database.
    """
    store, name = request.host.store, request.path["name"]
    job = store.get(name)
    running = None
    if job.status is JobStatus.PROCESSING:
        workers = {worker.job_id: worker for host in store.list_hosts() for worker in host.workers}
        running = _add_preview(request, describe_running(job, workers.get(job.id), request.now))
    return JobView(job, list_outputs(job), store.attempts(name), store.audit(name), store.explain_job(name), running)


def describe_running(job: Job, worker: WorkerRecord | None, now: datetime) -> RunningJob:
    """Return a running job with what its worker reports."""
    progress: Mapping[str, Any] = worker.progress if worker is not None else {}
    maximum, value = progress.get("maximum"), progress.get("value")
    seconds = None if job.start_time is None else max(0.0, (now - job.start_time).total_seconds())
    return RunningJob(
        job=job,
        worker=worker,
        runs_for_seconds=seconds,
        node=str(progress.get("node") or ""),
        step=int(value) if isinstance(value, int | float) else 0,
        steps=int(maximum) if isinstance(maximum, int | float) else 0,
        prompts_ahead=int(progress.get("prompts_ahead") or 0),
    )


def _add_preview(request: PageRequest, run: RunningJob) -> RunningJob:
    preview = find_running_preview(request.host, run.job)
    return run if preview is None else replace(run, preview=preview.version)


def read_tab(text: str) -> QueueTab:
    """Return the part of the page that a URL names; the first one for any other name."""
    return QueueTab(text) if text in {tab.value for tab in QueueTab} else QueueTab.NOW


def read_number(text: str) -> int:
    """Return a number of a URL; 0 for anything else."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS else 0
