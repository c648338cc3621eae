"""The list of workflows, and the download plan for what they lack."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from comfywatchman.app.pages.forms import plan_changed_failure
from comfywatchman.app.pages.page_host import PageHost
from comfywatchman.app.pages.page_request import ActionRequest, ActionResult, PageRequest
from comfywatchman.app.pages.paging import ListPage, cut_page, read_page_number
from comfywatchman.app.pages.tasks import start_command
from comfywatchman.app.pages.workflow_rows import WorkflowRow, build_rows, select_rows
from comfywatchman.app.tasks.records import TaskKind
from comfywatchman.base.errors import Failure
from comfywatchman.readiness.downloads.plan import DownloadPlan, PlanItem
from comfywatchman.readiness.downloads.plan_files import read_newest_plan
from comfywatchman.readiness.host_summary import Summary


@dataclass(frozen=True, slots=True)
class PlanView:
    """The newest download plan.

    Attributes:
        file: Its file name, by which it is approved.
        items: What it would download or link.
        blocked: Models that were found and cannot be downloaded.
        total_bytes: Total size, as far as sizes are known.
        command: The command that downloads all of it.
    """

    file: str
    items: tuple[PlanItem, ...]
    blocked: tuple[PlanItem, ...]
    total_bytes: int
    command: str


@dataclass(frozen=True, slots=True)
class WorkflowsView:
    """The list of workflows.

    Attributes:
        summary: Counts by verdict; None before the first check.
        page: The rows shown.
        status: The verdict that is filtered by, in lower case; empty for all.
        text: The words that are searched for.
        plan: The newest plan; None without one that would download something.
    """

    summary: Summary | None
    page: ListPage[WorkflowRow]
    status: str
    text: str
    plan: PlanView | None


def view_workflows(request: PageRequest) -> WorkflowsView:
    """Return the list of workflows.

    Raises:
        Failure: A `config-…` code.
    """
    host = request.host
    report = host.read_master_status()
    status, text = request.query.get("status", ""), request.query.get("q", "")
    if report is None:
        return WorkflowsView(None, cut_page((), 1), status, text, None)
    rows = host.cache_by_report("workflow rows", lambda: build_rows(report))
    page = select_rows(rows, status=status, text=text, page=read_page_number(request.query))
    return WorkflowsView(report.summary, page, status, text, read_plan(host))


def approve_plan(request: ActionRequest) -> ActionResult:
    """Start the download of a whole plan.

    Raises:
        Failure: `web-form-invalid`, or `child-failed`.
    """
    plan = read_plan(request.host)
    # Only the plan that the person has seen: a newer one may hold other files.
    if plan is None or request.form.get("plan") != plan.file:
        raise plan_changed_failure()
    return start_command(
        request, TaskKind.DOWNLOAD, "download", "--plan", plan.file, sentence="The download has started."
    )


def read_plan(host: PageHost) -> PlanView | None:
    """Return the newest plan of the watched ComfyUI; None when it holds nothing that is missing, or cannot be read."""
    session = host.session
    report = host.read_master_status()
    if report is not None and report.plan is None:
        # Everything that the plan holds is here now.
        return None
    try:
        plan = read_newest_plan(session.layout.home, session.watched_comfyui())
    except Failure:
        # The command `download --list` names the damaged file.
        return None
    return None if plan is None or not plan.items else _describe_plan(host, plan)


def _describe_plan(host: PageHost, plan: DownloadPlan) -> PlanView:
    file = f"{plan.cycle}.json"
    items = [item for item in plan.items if item.blocked is None]
    return PlanView(
        file=file,
        items=tuple(msgspec.structs.replace(item, target=host.shorten_path(item.target or "")) for item in items),
        blocked=tuple(item for item in plan.items if item.blocked is not None),
        total_bytes=plan.total_bytes,
        command=host.session.format_command("download", "--plan", file),
    )
