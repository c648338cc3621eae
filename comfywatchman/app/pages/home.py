"""The home page: what needs a person, the most urgent first, and the host at a glance."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Final

from comfywatchman.app.pages.attention import NeededAction, list_needed_actions
from comfywatchman.app.pages.chart import ChartUnit, LineChart, build_chart
from comfywatchman.app.pages.live_status import list_running_tasks
from comfywatchman.app.pages.page_host import PageHost
from comfywatchman.app.pages.page_request import PageRequest
from comfywatchman.app.tasks.records import TaskSnapshot
from comfywatchman.base.errors import Failure
from comfywatchman.jobs.records import QueueStats
from comfywatchman.readiness.host_summary import Summary

_CHART_CYCLES: Final = 50


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """The disk of the models, read now: sizes in bytes, and its shares in percent."""

    free_bytes: int
    total_bytes: int

    @property
    def used_percent(self) -> int:
        """How much of it is used, 0 to 100."""
        return round(100 * (1 - self.free_bytes / self.total_bytes)) if self.total_bytes else 0


@dataclass(frozen=True, slots=True)
class HomeView:
    """The home page.

    Attributes:
        needed: What needs a person, the most urgent first.
        summary: Workflows by verdict; None before the first check.
        queue: The figures of the queue; None when it cannot be read.
        disk: The disk of ComfyUI; None when there is none, or it cannot be read.
        tasks: The background tasks that run.
        cycles: How long the last checks took; None for fewer than two.
    """

    needed: tuple[NeededAction, ...]
    summary: Summary | None
    queue: QueueStats | None
    disk: DiskSpace | None
    tasks: tuple[TaskSnapshot, ...] = ()
    cycles: LineChart | None = None


def view_home(request: PageRequest) -> HomeView:
    """Return the home page."""
    host = request.host
    report = host.read_master_status()
    summary = report.summary if report is not None and report.checked_at is not None else None
    return HomeView(
        needed=list_needed_actions(host, request.now),
        summary=summary,
        queue=_read_queue(host),
        disk=read_disk(host),
        tasks=list_running_tasks(host),
        cycles=build_cycle_chart(host),
    )


def build_cycle_chart(host: PageHost) -> LineChart | None:
    """Return how long the last completed checks took; None for fewer than two."""
    try:
        cycles = host.read_cycles(_CHART_CYCLES)
    except Failure:
        return None
    completed = [(cycle.started_at, round(cycle.duration_seconds)) for cycle in cycles if cycle.success]
    return build_chart(completed[::-1], ChartUnit.SECONDS)


def read_disk(host: PageHost) -> DiskSpace | None:
    """Return the space on the disk of ComfyUI; None when there is no ComfyUI, or its disk cannot be read."""
    try:
        folder = host.session.find_comfyui_folder()
        usage = shutil.disk_usage(folder) if folder is not None else None
    except (Failure, OSError):
        return None
    return None if usage is None else DiskSpace(usage.free, usage.total)


def _read_queue(host: PageHost) -> QueueStats | None:
    try:
        return host.read_stats()
    except Failure:
        # The status sentence says why.
        return None
