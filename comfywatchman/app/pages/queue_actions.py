"""The buttons of the queue page: one job, all jobs of a cause or a filter, and the whole queue."""

from __future__ import annotations

from urllib.parse import quote

from comfywatchman.app.pages.page_request import ActionRequest, ActionResult
from comfywatchman.app.pages.queue import read_number
from comfywatchman.base.errors import Failure
from comfywatchman.base.text import pluralize
from comfywatchman.jobs.records import JobStatus
from comfywatchman.jobs.store.bulk import BulkChange, JobFilter
from comfywatchman.jobs.store.changes import FAILED_STATUSES


def set_priority(request: ActionRequest) -> ActionResult:
    """Change the priority of a job.

    Raises:
        Failure: `web-form-invalid`, or a `jobs-…` code.
    """
    name = read_name(request)
    priority = read_number(request.form.get("priority", ""))
    request.host.store.set_priority(name, priority, actor=request.actor)
    return ActionResult(f"{shorten(name)} has priority {priority}.", read_next(request))


def god_mode(request: ActionRequest) -> ActionResult:
    """Put a job first.

    Raises:
        Failure: `web-form-invalid`, or a `jobs-…` code.
    """
    name = read_name(request)
    request.host.store.god_mode(name, actor=request.actor)
    return ActionResult(f"{shorten(name)} runs next.", read_next(request))


def retry(request: ActionRequest) -> ActionResult:
    """Queue a failed job again.

    Raises:
        Failure: `web-form-invalid`, or a `jobs-…` code.
    """
    name = read_name(request)
    request.host.store.retry(name, actor=request.actor)
    return ActionResult(f"{shorten(name)} waits again.", read_next(request))


def cancel(request: ActionRequest) -> ActionResult:
    """Cancel a job; one that runs is stopped by its worker.

    Raises:
        Failure: `web-form-invalid`, or a `jobs-…` code.
    """
    name = read_name(request)
    status = request.host.store.cancel(name, actor=request.actor)
    done = "is cancelled" if status is JobStatus.CANCELLED else "is being stopped by its worker"
    return ActionResult(f"{shorten(name)} {done}.", read_next(request))


def pause(request: ActionRequest) -> ActionResult:
    """Let no host take another job."""
    request.host.store.pause(actor=request.actor)
    return ActionResult("The queue is paused. Jobs that run go on.", read_next(request))


def resume(request: ActionRequest) -> ActionResult:
    """Let hosts take jobs again."""
    request.host.store.resume(actor=request.actor)
    return ActionResult("The queue goes on.", read_next(request))


def retry_all(request: ActionRequest) -> ActionResult:
    """Queue all failed jobs of a cause again, as many as were confirmed.

    Raises:
        Failure: `jobs-count-changed`.
    """
    form = request.form
    chosen = JobFilter(FAILED_STATUSES, form.get("text", ""), form.get("code"), form.get("head"))
    count = request.host.store.change_many(
        chosen, BulkChange.RETRY, expected=read_number(form.get("expected", "")), actor=request.actor
    )
    return ActionResult(f"{pluralize(count, 'job')} {'waits' if count == 1 else 'wait'} again.", read_next(request))


def cancel_all(request: ActionRequest) -> ActionResult:
    """Cancel all waiting jobs that match the filter, as many as were confirmed.

    Raises:
        Failure: `jobs-count-changed`.
    """
    form = request.form
    chosen = JobFilter((JobStatus.PENDING,), form.get("text", ""))
    count = request.host.store.change_many(
        chosen, BulkChange.CANCEL, expected=read_number(form.get("expected", "")), actor=request.actor
    )
    return ActionResult(f"{pluralize(count, 'job')} {'is' if count == 1 else 'are'} cancelled.", read_next(request))


def set_priority_of_all(request: ActionRequest) -> ActionResult:
    """Change the priority of all waiting jobs that match the filter, as many as were confirmed.

    Raises:
        Failure: `jobs-count-changed` or `jobs-priority-range`.
    """
    form = request.form
    priority = read_number(form.get("priority", ""))
    chosen = JobFilter((JobStatus.PENDING,), form.get("text", ""))
    expected = read_number(form.get("expected", ""))
    count = request.host.store.change_many(
        chosen, BulkChange.PRIORITY, expected=expected, actor=request.actor, priority=priority
    )
    return ActionResult(
        f"{pluralize(count, 'job')} {'has' if count == 1 else 'have'} priority {priority}.", read_next(request)
    )


def read_name(request: ActionRequest) -> str:
    """Return the name of the job that a form is about.

    Raises:
        Failure: `web-form-invalid`.
    """
    name = request.form.get("name", "")
    if not name:
        raise Failure("web-form-invalid", "The form names no job.", hint="Load the page again, and use its buttons.")
    return name


def read_next(request: ActionRequest) -> str:
    """Return the page that is shown next: that of the job, or the part of the queue that the form was in."""
    if request.form.get("from") == "job":
        return f"queue/{request.form.get('name', '')}"
    return f"queue?status={quote(request.form.get('from', 'now'), safe='')}"


def shorten(name: str) -> str:
    """Return the name of a job without its suffix."""
    return name.removesuffix(".yaml")
